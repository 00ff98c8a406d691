"""`Tool`, `ToolCalls` and `ToolCallResults` beside those of DSPy: schemas, casts, errors, texts."""

from __future__ import annotations

import asyncio
import enum
import functools
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pydantic
import pytest

import lampc
from lampc.frontend.python.tools.tool import effect_of
from lampc.ir.hostref import host_ref
from tests.python.twins import both as both_sides
from tests.python.twins import in_turn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import dspy


class Place(pydantic.BaseModel):
    city: str
    zip: int = 0


class Trip(pydantic.BaseModel):
    stops: list[Place]
    via: Place | None = None


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


@dataclass
class Box:
    width: float
    label: str = "?"


def search(query: str, k: int = 3) -> list[str]:
    """Search for passages.

    Two lines of it."""
    return [query] * k


def untyped(a, b=2):  # type: ignore[no-untyped-def]
    return (a, b)


def travel(
    trip: Trip, unit: Unit = Unit.C, mode: Literal["car", "train"] = "car", tags: list[str] | None = None
) -> str:
    return f"{type(trip).__name__} {len(trip.stops)} {unit} {mode} {tags}"


def odd(
    box: Box, price: Decimal = Decimal("1.5"), pair: tuple[int, str] = (1, "a"), seen: set[int] | None = None
) -> str:
    return f"{box} {price} {pair} {seen}"


def open_ended(first: int, **rest: Any) -> str:
    return f"{first} {rest}"


class Adder:
    """Adds a number."""

    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, x: int) -> int:
        """Adds to x."""
        return x + self.by

    def method(self, x: int) -> int:
        """Adds to x, as a method."""
        return x + self.by


FUNCTIONS: list[Callable[..., Any]] = [
    search,
    untyped,
    travel,
    odd,
    open_ended,
    Adder(2),
    Adder(3).method,
    lambda x: x,
]


def both(function: Callable[..., Any], **options: Any) -> tuple[lampc.Tool, Any]:
    return lampc.Tool(function, **options), dspy.Tool(function, **options)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: getattr(f, "__name__", type(f).__name__))
def test_what_is_read_from_a_function_is_what_dspy_reads(function: Callable[..., Any]) -> None:
    ours, theirs = both(function)
    assert (ours.name, ours.desc, ours.has_kwargs) == (theirs.name, theirs.desc, theirs.has_kwargs)
    assert ours.args == theirs.args
    assert ours.arg_types == theirs.arg_types
    assert str(ours) == str(theirs)
    assert repr(ours) == repr(theirs)
    assert ours.format() == theirs.format()
    call = theirs.format_as_litellm_function_call()
    assert ours.format_as_litellm_function_call() == call


def test_what_is_given_stands() -> None:
    options = {
        "name": "find",
        "desc": "Finds.",
        "args": {"query": {"type": "string"}},
        "arg_types": {"query": str},
        "arg_desc": {"query": "what to find"},
    }
    ours, theirs = both(search, **options)
    assert (str(ours), ours.args, ours.arg_types) == (str(theirs), theirs.args, theirs.arg_types)
    ours, theirs = both(search, arg_desc={"query": "what to find"})
    assert ours.args == theirs.args
    assert ours.args["query"]["description"] == "what to find"


CALLS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (search, {"query": "a"}),
    (search, {"query": "a", "k": 1}),
    (search, {"query": 3}),
    (search, {"query": "a", "k": "3"}),
    (search, {"query": "a", "k": 2.5}),
    (search, {"query": "a", "n": 1}),
    (search, {}),
    (untyped, {"a": {"x": 1}}),
    (travel, {"trip": {"stops": [{"city": "Ulm", "zip": 1}, {"city": "Bonn"}]}, "unit": "fahrenheit"}),
    (travel, {"trip": {"stops": [{"zip": 1}]}}),
    (travel, {"trip": Trip(stops=[Place(city="Ulm")]), "tags": ["a"], "mode": "train"}),
    (travel, {"trip": {"stops": []}, "mode": "bus"}),
    (travel, {"trip": {"stops": []}, "unit": "kelvin"}),
    (travel, {"trip": {"stops": []}, "tags": 3}),
    (odd, {"box": {"width": 2}, "pair": [2, "b"], "seen": [1, 1]}),
    (odd, {"box": {"label": "no width"}}),
    (open_ended, {"first": 1, "more": [1], "still": "b"}),
    (open_ended, {"first": "one"}),
]


def attempt(call: Callable[[], Any]) -> tuple[str, str]:
    try:
        return "value", repr(call())
    except Exception as e:
        return type(e).__name__, str(e)


@pytest.mark.parametrize(("function", "arguments"), CALLS)
def test_arguments_are_cast_and_refused_as_by_dspy(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    ours, theirs = both(function)
    assert attempt(lambda: ours(**arguments)) == attempt(lambda: theirs(**arguments))
    awaited = attempt(lambda: asyncio.run(ours.acall(**arguments)))
    assert awaited == attempt(lambda: asyncio.run(theirs.acall(**arguments)))


def test_arguments_by_position() -> None:
    made = lampc.Tool(search)
    assert made("a", 2) == ["a", "a"]
    assert made("a", k=1) == ["a"]
    with pytest.raises(TypeError, match=r"tool `search` takes 2 arguments \(query, k\), not 3"):
        made("a", 1, 2)
    with pytest.raises(TypeError, match="was given `query` twice"):
        made("a", query="b")


def test_a_type_that_contains_itself_and_one_that_has_no_schema() -> None:
    class Opaque:
        pass

    def visit(tree: Tree, thing: Opaque) -> str:
        return f"{tree.children[0].name} {thing is given}"

    given = Opaque()
    made = lampc.Tool(visit)
    assert made.args["tree"]["properties"]["children"]["items"] == {"type": "object"}
    assert made.args["thing"] == {}
    assert made(tree={"name": "a", "children": [{"name": "b", "children": []}]}, thing=given) == "b True"


class Tree(pydantic.BaseModel):
    name: str
    children: list[Tree]


def test_async_tools_run_to_their_end_where_no_loop_runs() -> None:
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    made = lampc.Tool(later)
    assert made.is_async
    assert made(x=1) == 2
    assert asyncio.run(made.acall(x=2)) == 3

    async def inside() -> None:
        with pytest.raises(ValueError, match=r"an event loop is running in this thread: `await tool.acall"):
            made(x=1)

    asyncio.run(inside())


def test_effects_are_declared_on_the_function_alone() -> None:
    @lampc.tool(blocking=True)
    @lampc.unordered
    def look(x: int) -> int:
        return x

    assert (look.effect, look.blocking, look.name) == ("unordered", True, "look")
    assert lampc.Tool(lampc.pure(lambda x: x)).effect == "pure"
    assert lampc.Tool(search).effect == "effect"
    assert effect_of(functools.partial(search)) == "effect"
    assert callable(lampc.Tool(functools.partial(search, k=1), name="one"))


def test_what_a_runner_is_given_has_an_identity() -> None:
    for function in (*FUNCTIONS, functools.partial(search, k=1), len):
        try:
            made = lampc.Tool(function, name="t", args={"x": {}}, arg_types={"x": Any})
        except ValueError:
            continue
        assert host_ref(made._runnable).target


def test_tools_are_no_values_to_copy() -> None:
    made = lampc.Tool(search)

    class Holder(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tools = {"search": made}

    assert Holder().deepcopy().tools["search"](query="a", k=1) == ["a"]


def test_callbacks_are_told_of_calls_as_by_dspy() -> None:
    def told(d: Any) -> list[Any]:
        seen: list[Any] = []

        class Listener(dspy.utils.callback.BaseCallback):  # type: ignore[misc]
            def on_tool_start(self, call_id: str, instance: Any, inputs: Any) -> None:
                seen.append((instance.name, inputs))

            def on_tool_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
                seen.append((outputs, repr(exception)))

        tool = d.Tool(search)
        with (lampc.settings if d is lampc else dspy).context(callbacks=[Listener()]):
            tool(query="a", k=1)
            attempt(lambda: tool(query=1))
            asyncio.run(tool.acall(query="b"))
        return seen

    assert told(lampc) == told(dspy)


# -- calls and results -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        {"tool_calls": [{"name": "a", "args": {"x": 1}}]},
        {"name": "a", "args": {"x": 1}},
        [{"name": "a", "args": {}}, {"name": "b", "arguments": '{"y": [1]}'}],
        [{"id": "1", "function": {"name": "a", "arguments": '{"x": 1}'}, "type": "function"}],
        {"tool_calls": [{"call_id": "9", "name": "a", "args": {}}], "tool_call_results": {"z": 1}},
        [{"name": "a", "arguments": "{'x': [1, 2"}, {"name": "b", "arguments": "no"}],
        [],
        {"tool_calls": []},
        {"name": "a"},
        {"nothing": 1},
        "text",
        [{"name": "a"}],
        {"tool_calls": [{"function": "a"}]},
    ],
    ids=str,
)
def test_values_of_tool_calls_are_read_as_by_dspy(data: Any) -> None:
    try:
        theirs = dspy.ToolCalls.model_validate(data)
    except pydantic.ValidationError:
        with pytest.raises(pydantic.ValidationError):
            lampc.ToolCalls.model_validate(data)
        return
    ours = lampc.ToolCalls.model_validate(data)
    assert ours.format() == theirs.format()
    assert ours.model_dump() == theirs.model_dump()
    assert [c.id for c in ours.tool_calls] == [c.id for c in theirs.tool_calls]


def test_the_schema_and_description_of_tool_calls_are_dspys() -> None:
    assert lampc.ToolCalls.model_json_schema() == dspy.ToolCalls.model_json_schema()
    assert lampc.ToolCalls.description() == dspy.ToolCalls.description()


def test_results_in_the_order_of_calls() -> None:
    dicts = [{"name": "a", "args": {}}, {"name": "b", "args": {"x": 1}}]
    ours, theirs = lampc.ToolCalls.from_dict_list(dicts), dspy.ToolCalls.from_dict_list(dicts)
    made = lampc.ToolCallResults.from_tool_calls_and_values(ours, [1, "no"], [False, True])
    wanted = dspy.ToolCallResults.from_tool_calls_and_values(theirs, [1, "no"], [False, True])
    assert made.model_dump() == wanted.model_dump()
    for values, errors in (([1], None), ([1, 2], [True])):
        with pytest.raises(ValueError, match="same length") as caught:
            lampc.ToolCallResults.from_tool_calls_and_values(ours.tool_calls, values, errors)
        with pytest.raises(ValueError, match="same length") as theirs_caught:
            dspy.ToolCallResults.from_tool_calls_and_values(theirs.tool_calls, values, errors)
        assert str(caught.value) == str(theirs_caught.value)
    for data in ([{"name": "a", "value": 1}], {"name": "a", "value": 1}, made.model_dump()):
        assert (
            lampc.ToolCallResults.model_validate(data).model_dump()
            == dspy.ToolCallResults.model_validate(data).model_dump()
        )
    with pytest.raises(pydantic.ValidationError, match="invalid value for `ToolCallResults`"):
        lampc.ToolCallResults.model_validate("text")


def test_calls_are_executed() -> None:
    call = lampc.ToolCalls.ToolCall(name="search", args={"query": "a", "k": 1})
    assert call.execute({"search": search}) == ["a"]
    assert call.execute([lampc.Tool(search)]) == ["a"]
    assert call.execute() == ["a"]
    with pytest.raises(ValueError, match="Tool function 'search' not found"):
        call.execute({})
    with pytest.raises(RuntimeError, match="Error executing tool 'search': 'broken'"):
        call.execute({"search": broken})


def broken(**_: Any) -> None:
    raise KeyError("broken")


ASKED: list[Any] = [
    {"tool_calls": [{"name": "search", "args": {"query": "x", "k": 2}}, {"name": "travel", "args": {}}]},
    {"name": "search", "args": {"query": "ü"}},
    [{"name": "search", "arguments": '{"query": "x"}'}],
    {"tool_calls": []},
    "none",
]


@pytest.mark.parametrize("said", ASKED, ids=str)
def test_tools_and_calls_as_fields_of_a_signature_are_dspys(said: Any) -> None:
    def program(d: Any) -> Any:
        fields = {
            "question": (str, d.InputField()),
            "tools": (list[d.Tool], d.InputField(desc="what there is")),
            "outputs": (d.ToolCalls, d.OutputField()),
            "note": (str, d.OutputField()),
        }
        predict = d.Predict(d.Signature(fields, "Choose tools."))
        tools = [d.Tool(search), d.Tool(travel, desc="Goes\nplaces.")]
        shown = d.ToolCalls.from_dict_list([{"name": "search", "args": {"query": "y"}}])
        demo = d.Example(question="a", tools=tools[:1], outputs=shown, note="n")
        try:
            made = predict(question="q", tools=tools, demos=[demo])
        except Exception:
            return "failed"
        return (
            type(made.outputs).__name__,
            made.outputs.model_dump(),
            [c.id for c in made.outputs.tool_calls],
            made.note,
        )

    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    theirs, mine = both_sides(program, lambda: in_turn(*[f"[[ ## outputs ## ]]\n{text}\n\n[[ ## note ## ]]\nn"] * 3))
    assert mine[1][0] == theirs[1][0]
    if isinstance(said, str):
        assert (mine[0], theirs[0]) == ("failed", "failed")
    else:
        assert mine == theirs


# -- tools of elsewhere ----------------------------------------------------------------------------------------


class Arguments(pydantic.BaseModel):
    x: int = pydantic.Field(description="a number")
    y: Place


def test_langchain_tools_by_their_shape() -> None:
    async def ainvoke(given: dict[str, Any]) -> str:
        if given["x"] < 0:
            raise OSError("too small")
        return f"{given['x']} {given['y'].city}"

    theirs = SimpleNamespace(name="there", description="Goes there.", args_schema=Arguments, ainvoke=ainvoke)
    made, wanted = lampc.Tool.from_langchain(theirs), dspy.Tool.from_langchain(theirs)
    assert (str(made), made.arg_desc, made.arg_types) == (str(wanted), wanted.arg_desc, wanted.arg_types)
    assert made(x=1, y={"city": "Ulm"}) == "1 Ulm"
    for tool in (made, wanted):
        with pytest.raises(RuntimeError, match="Failed to call LangChain tool there: too small"):
            asyncio.run(tool.acall(x=-1, y={"city": "Ulm"}))
    with pytest.raises(TypeError, match="no args_schema that is a pydantic model"):
        lampc.Tool.from_langchain(SimpleNamespace(name="there", description="", args_schema={"x": {}}))


def test_declaring_a_tool_loads_neither_pydantic_nor_jsonschema() -> None:
    code = (
        "import sys, lampc\n"
        "@lampc.tool\n"
        "def f(x: int) -> int: return x\n"
        "print([m for m in ('pydantic', 'jsonschema', 'torch') if m in sys.modules])\n"
        "print(f(1))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.splitlines() == ["[]", "1"], done.stderr


def test_schemas_are_json() -> None:
    for function in FUNCTIONS:
        assert json.loads(json.dumps(lampc.Tool(function).args)) is not None


@pytest.mark.parametrize(
    ("schema", "ref"),
    [
        ({"$ref": "#"}, "#"),
        ({"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"$ref": "#/$defs/A"}}}, "#/$defs/A"),
        (
            {
                "properties": {"a": {"type": "array", "items": {"$ref": "#/$defs/A"}}},
                "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}},
            },
            "#/$defs/A",
        ),
    ],
)
def test_a_reference_that_leads_back_to_itself_is_an_error(schema: dict[str, Any], ref: str) -> None:
    declared = SimpleNamespace(name="look", description="", inputSchema=schema)
    with pytest.raises(ValueError, match=f"tool `look`: `\\$ref`: '{re.escape(ref)}' in its input schema leads back"):
        lampc.Tool.from_mcp_tool(None, declared)


@pytest.mark.timeout(20)
def test_large_schemas_are_read() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(900):
        deep = {"type": "array", "items": deep}
    chain = {f"D{i}": {"$ref": f"#/$defs/D{i + 1}"} for i in range(2000)} | {"D2000": {"type": "string"}}
    for schema in ({"properties": {"a": deep}}, {"properties": {"a": {"type": "string"}}, "$defs": chain}):
        made = lampc.Tool.from_mcp_tool(None, SimpleNamespace(name="look", description="", inputSchema=schema))
        assert list(made.args) == ["a"]


def test_a_schema_that_is_inside_itself_is_none() -> None:
    defs = {"A": {"type": "object", "properties": {"next": {"$ref": "#/$defs/A"}}}}
    schema = {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": defs}
    made = lampc.Tool.from_mcp_tool(None, SimpleNamespace(name="look", description="", inputSchema=schema))
    assert made.args["a"] == {"type": "object", "properties": {"next": {"type": "object"}}}
