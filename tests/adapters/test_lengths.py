"""Bounds of outputs: what a value may have, whatever the layout writes around it."""

from __future__ import annotations

import pytest

import lampc
from lampc.frontend.lmp import compile_lmp
from lampc.ir import Demo, Field, Sampling, Signature, Target, freeze
from lampc.ir.adapters import ADAPTERS, adapter, call_sampling
from lampc.ir.adapters.lengths import frame
from lampc.ir.prog import Predict
from lampc.ir.requests import RequestOp
from lampc.ir.types import STR
from lampc.passes.manager import PassContext, Pipeline
from lampc.runtime.failures import UnreadableAnswer
from lampc.runtime.scripted import DummyLM
from lampc.runtime.session import Session
from lampc.runtime.types import Row

LONG = "what_the_customer_would_like_us_to_do_about_the_parcel"
SHAPES = [("answer",), ("reasoning", "answer"), (LONG,), (LONG, "x", "final_answer_to_the_question")]
WORDS = "the dog saw a red car in the garden and the small cat sat on the old wall of the house"


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(model="firefly")


@pytest.fixture(scope="module")
def target(session: Session) -> Target:
    return session.models.get("main").target


def bounded(names: tuple[str, ...], *bounds: int) -> Signature:
    return Signature((Field("q", STR),), tuple(Field(n, STR, max_tokens=b) for n, b in zip(names, bounds, strict=True)))


def written(layout: str, signature: Signature, values: dict[str, str]) -> str:
    return adapter(layout).demo(signature, Demo(freeze({"q": "x", **values})))[-1][1]


@pytest.mark.parametrize("names", SHAPES, ids=len)
@pytest.mark.parametrize("layout", [n for n in ADAPTERS if not n.startswith("two_step")])
def test_answers_that_keep_to_their_bounds_are_not_cut(layout: str, names: tuple[str, ...], target: Target) -> None:
    tokens = target.tokens
    assert tokens is not None
    for words in (1, 4, 9, 20):
        value = " ".join(WORDS.split()[:words])
        bound = len(tokens.encode(value))
        signature = bounded(names, *[bound] * len(names))
        answer = written(layout, signature, dict.fromkeys(names, value))
        most = call_sampling(signature, layout, Sampling(), target).max_tokens
        assert len(tokens.encode(answer.rstrip())) <= most
        if not adapter(layout).strict:  # those that DSPy has may fall back to JSON, for which room is left
            assert most - len(tokens.encode(answer)) <= 2 * len(names)


def test_what_stands_around_values_counts_apart(target: Target) -> None:
    """16 tokens a field were too few for long names and for XML, and too many for `compact`."""
    signature = bounded((LONG,), 8)
    found = {n: call_sampling(signature, n, Sampling(), target).max_tokens - 8 for n in ("compact", "xml")}
    assert found["xml"] > 16
    assert call_sampling(bounded(("answer",), 8), "compact", Sampling(), target).max_tokens - 8 < 5
    assert call_sampling(bounded(("answer",), 8), "raw", Sampling(), target).max_tokens == 8
    whole = lampc.Template("{{ q }}")
    as_xml = lampc.Template("{{ q }}", reads="xml")
    assert call_sampling(bounded(("answer",), 8), whole.layout(), Sampling(), target).max_tokens == 8
    assert call_sampling(signature, as_xml.layout(), Sampling(), target).max_tokens == found["xml"] + 8


def test_endpoints_have_room_for_what_stands_around() -> None:
    """A token of a name has two characters or more."""
    assert call_sampling(bounded(("answer",), 8), "compact", Sampling()).max_tokens == 8 + 16
    long = bounded((LONG,), 8)
    assert call_sampling(long, "xml", Sampling()).max_tokens == 8 + len(frame("xml", long)) // 2


def test_outputs_without_bounds_may_have_what_the_call_may(target: Target) -> None:
    one, free = bounded(("a", "b"), 4, 0), bounded(("a", "b"), 0, 0)
    ten = Sampling(temperature=0.5, max_tokens=10)
    assert call_sampling(free, "compact", ten, target) == ten
    made = call_sampling(one, "compact", ten, target)
    assert made.max_tokens == 14 + len(target.tokens.encode("a:\nb:"))  # type: ignore[union-attr]
    assert made.temperature == 0.5
    endless = Sampling(max_tokens=0)
    assert call_sampling(one, "compact", endless, target) == endless


SOURCE = """signature Tell(text: str) -> (story: str @max(8)) {{ "Tell a long story." }}
module Main(text: str) -> (story: str) {{
  use tell = Predict(Tell) @layout({layout}) @sample(temperature: 1.5);
  return (story: tell(text: text).story);
}}
"""


@pytest.mark.parametrize("layout", ["compact", "chat"])
def test_values_have_no_more_tokens_than_they_may(layout: str, session: Session, target: Target) -> None:
    unit = compile_lmp(SOURCE.format(layout=layout), "tell.lmp")
    rows = [Row(str(i), {"text": f"{w} {WORDS}"}) for i, w in enumerate(WORDS.split())]
    told = [o.value["story"] for o in session.run(unit, rows) if o.value is not None]
    assert target.tokens is not None
    sizes = [len(target.tokens.encode(t)) for t in told]
    assert max(sizes) <= 8 + (layout == "chat")  # where the end's marker is cut, its room is the value's
    assert session.usage.generated_tokens <= sum(1 for _ in rows) * (8 + 12)


def test_passes_and_single_calls_bound_alike(session: Session, target: Target) -> None:
    module = compile_lmp(SOURCE.format(layout="xml"), "tell.lmp").module
    (call,) = (op for op in module.walk() if isinstance(op, Predict))
    expected = call_sampling(call.signature, "xml", call.sampling, target)
    Pipeline.parse("lower-prompts").run(module, PassContext(target))
    (request,) = (op for op in module.walk() if isinstance(op, RequestOp))
    assert request.sampling == expected


def test_answers_that_cannot_be_read_name_the_bounds() -> None:
    class Count(lampc.Signature):
        text: str = lampc.InputField()
        n: int = lampc.OutputField(max_tokens=2)

    with lampc.context(lm=DummyLM([{"n": "a great many of them"}] * 2)), pytest.raises(UnreadableAnswer) as e:
        lampc.Predict(Count)(text="x")
    assert "(an answer is cut at the bounds of its outputs, in tokens: `n` 2)" in str(e.value)


CUT = """
signature Tell(text: str) -> (story: str{first}, n: int{second}) {{ \"\"\"Tell a long story.\"\"\" }}
module M(text: str) -> (n: int) {{
  use tell = Predict(Tell) @layout(json);
  let c = tell(text: text){sample};
  return (n: c.n);
}}
"""


@pytest.mark.parametrize(
    ("first", "second", "sample", "said"),
    [
        ("", "", "", "(it was cut after 256 tokens: raise `max_tokens` of the call or the model (in .lmp, "),
        ("", "", " @sample(max_tokens: 3)", "(it was cut after 3 tokens: raise `max_tokens` of the call"),
        (
            " @max(2)",
            "",
            "",
            " tokens: raise the bounds of outputs (`story` 2) or `max_tokens` of the call or the model",
        ),
        (" @max(2)", " @max(1)", "", " tokens: raise the bounds of outputs (`story` 2, `n` 1))"),
    ],
)
def test_answers_that_were_cut_say_so(first: str, second: str, sample: str, said: str, session: Session) -> None:
    unit = compile_lmp(CUT.format(first=first, second=second, sample=sample), "cut.lmp")
    (outcome,) = session.run(unit, [Row("0", {"text": "the network is down"})])
    assert outcome.error is not None
    assert said in outcome.error.message


def test_calls_one_by_one_that_were_cut_say_so() -> None:
    for lm, tokens in ((lampc.LM("firefly"), 256), (lampc.LM("firefly", max_tokens=5), 5)):
        with lampc.context(lm=lm), pytest.raises(UnreadableAnswer, match=f"it was cut after {tokens} tokens: raise"):
            lampc.Predict("text -> story, n: int", layout="json")(text="x")


@pytest.mark.parametrize("bound", [-1, 2.5, True, "8", None])
def test_bounds_are_numbers_of_tokens(bound: object) -> None:
    with pytest.raises(ValueError, match="max_tokens is how many tokens an output may have"):
        lampc.OutputField(max_tokens=bound)
