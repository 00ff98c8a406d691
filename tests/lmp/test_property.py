"""Generated programs: formatting and emitting keep the module, whatever the expressions look like."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lampc.frontend.lmp import compile_lmp, emit_lmp, format_lmp
from lampc.ir import CompileError

NUMBERS = st.one_of(
    st.sampled_from(["n", "m", "len(t)", "r.size", "rs[0].size", "sum(rs.size)", "-n"]),
    st.integers(0, 9).map(str),
    st.floats(0, 3, allow_nan=False, width=16).map(lambda f: f"{f:.3f}"),
)
TEXTS = st.sampled_from(
    ["t", '"a"', '"\\n # no comment"', "r.name", "upper(t)", "t[1:]", "rs[-1].name", 'join("", ts)']
)
MAPS = NUMBERS.map(lambda x: f"sum(map q, i in rs {{ let w = q.size + i; if w > 0 {{ yield w * {x}; }} }})")
TRUTHS = st.sampled_from(["b", "true", "t == r.name", "n < m", "not b", "t in ts", '"a" in t'])


def grown(numbers: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def two(a: st.SearchStrategy[str], ops: list[str], b: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.tuples(a, st.sampled_from(ops), b).map(lambda x: f"{x[0]} {x[1]} {x[2]}")

    def paren(a: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return a.map(lambda x: f"({x})")

    sums = two(numbers, ["+", "-", "*"], numbers)
    mixed = st.one_of(numbers, paren(sums), paren(numbers).map(lambda x: f"-{x}"))
    return st.one_of(
        sums,
        two(mixed, ["+", "-", "*", "/"], mixed),
        mixed.map(lambda x: f"abs({x})"),
        st.tuples(TRUTHS, mixed, mixed).map(lambda x: f"(if {x[0]} then {x[1]} else {x[2]})"),
        st.tuples(mixed, mixed).map(lambda x: f'(match t {{ "a" => {x[0]}; _ => {{ yield {x[1]}; }} }})'),
        mixed.map(lambda x: f"(ask(t: t, n: {x}) @sample(temperature: 0.5)).score"),
    )


EXPRESSIONS = st.recursive(st.one_of(NUMBERS, MAPS), grown, max_leaves=5)
CONDITIONS = st.lists(st.tuples(TRUTHS, EXPRESSIONS), min_size=1, max_size=3).map(
    lambda xs: " and ".join(f"({c} or {e} > 0)" for c, e in xs)
)


def source(values: list[str], conditions: list[str], texts: list[str]) -> str:
    lets = "".join(f"  let v{i} = {v};# {i}\n\n" for i, v in enumerate(values))
    tests = "".join(f"  if {c} {{ assert {c}; }} else {{ let z = {values[0]}; assert z > 1; }}\n" for c in conditions)
    total = " + ".join(f"v{i}" for i in range(len(values)))
    return (
        "signature Ask(t: str, n: float) -> (score: float) { }\n"
        "module M(n: int, m: int, t: str, b: bool, r: {name: str, size: int}, rs: list[{name: str, size: int}], "
        "ts: list[str]) -> (out: float, text: str) {\n  use ask = Predict(Ask);\n"
        f"{lets}{tests}  loop (x: {values[-1]} + 0.0, k as c: 0) max 3 {{ let y = x + {values[0]};\n"
        f"    next (x: y * 1.0, k: k + 1) until y > 0 and {conditions[0]}; }}\n"
        f"  return (out: {total} + x + c + y, text: concat({', '.join(texts)}));\n}}\n"
    )


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.generate],  # programs are short: shrinking would take longer than reading them
)
@given(
    st.lists(EXPRESSIONS, min_size=1, max_size=3),
    st.lists(CONDITIONS, min_size=1, max_size=2),
    st.lists(TEXTS, min_size=1, max_size=3),
)
def test_generated_programs(values: list[str], conditions: list[str], texts: list[str]) -> None:
    text = source(values, conditions, texts)
    try:
        unit = compile_lmp(text)
    except CompileError as e:
        if {d.code for d in e.diagnostics} <= {"L0306", "L0507"}:
            return  # a constant that fails; an int that becomes a float
        raise
    once = format_lmp(text)
    assert format_lmp(once) == once
    assert compile_lmp(once).module == unit.module
    assert compile_lmp(emit_lmp(unit)).module == unit.module
