"""Types with a text of their own, in prompts and answers: images as parts, code, reasoning, tool calls, histories."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import pydantic
import pytest

import lampc
from lampc.ir.adapters import ParseFailure

dspy = pytest.importorskip("dspy")
URL = "https://example.com/cat.png"
DATA = "data:image/png;base64,iVBORw0KGgo="
ADAPTERS = ("ChatAdapter", "JSONAdapter", "XMLAdapter")


def both(adapter: str, make: Any) -> tuple[Any, Any]:
    """What DSPy makes of a call, and what we make of it; `make` is given the library."""
    out = []
    for library in (dspy, lampc):
        signature, demos, inputs = make(library)
        made = getattr(library, adapter)(use_native_function_calling=False)
        out.append(made.format(signature, demos, inputs))
    return out[0], out[1]


def signature(library: Any, **fields: Any) -> Any:
    made = {}
    for name, annotation in fields.items():
        kind = library.OutputField if name.startswith("out") else library.InputField
        made[name] = (annotation, kind())
    return library.Signature(made, "Do it.")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_images_are_parts_of_the_message_where_they_stand(adapter: str) -> None:
    def make(lib: Any) -> Any:
        s = signature(lib, question=str, image=lib.Image, more=list[lib.Image], out=str)
        image = lib.Image(URL)
        values = {"question": "What?", "image": image, "more": [lib.Image(DATA), image]}
        return s, [{**values, "out": "A cat."}], values

    theirs, ours = both(adapter, make)
    assert ours == theirs
    assert sum(p["type"] == "image_url" for p in ours[-1]["content"]) == 3


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_code_and_reasoning_read_as_texts(adapter: str) -> None:
    def make(lib: Any) -> Any:
        s = signature(lib, code=lib.Code["python"], out_why=lib.Reasoning, out_code=lib.Code["java"])
        values = {"code": lib.Code["python"](code="x = 1\n"), "out_why": "since", "out_code": "int x;"}
        return s, [values], {"code": values["code"]}

    theirs, ours = both(adapter, make)
    assert ours == theirs


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_calls_of_tools_are_asked_for_as_dspy_does(adapter: str) -> None:
    def search(query: str, k: int = 3) -> str:
        """Look it up."""
        return query * k

    def make(lib: Any) -> Any:
        s = signature(lib, question=str, tools=list[lib.Tool], out_calls=lib.ToolCalls)
        calls = lib.ToolCalls.from_dict_list([{"name": "search", "args": {"query": "x"}}])
        values = {"question": "q", "tools": [lib.Tool(search)]}
        return s, [{**values, "out_calls": calls}], values

    theirs, ours = both(adapter, make)
    assert ours == theirs


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_tool_calls_in_a_history_are_turns(adapter: str) -> None:
    def make(lib: Any) -> Any:
        s = signature(lib, history=lib.History, question=str, out_thought=str, out_calls=lib.ToolCalls)
        calls = lib.ToolCalls.from_dict_list([{"name": "search", "args": {"query": "x"}}])
        results = lib.ToolCallResults.from_tool_calls_and_values(calls, ["found"])
        calls = calls.model_copy(update={"tool_call_results": results})
        turns = [{"question": "q1", "out_thought": "hm", "out_calls": calls}, {"out_thought": "more"}]
        return s, [], {"history": lib.History(messages=turns), "question": "q2"}

    theirs, ours = both(adapter, make)
    assert ours == theirs


def test_calls_and_code_are_read() -> None:
    s = signature(lampc, question=str, out_calls=lampc.ToolCalls, out_code=lampc.Code["python"])
    said = (
        '[[ ## out_calls ## ]]\n{"tool_calls": [{"name": "search", "args": {"query": "x"}}]}\n\n'
        "[[ ## out_code ## ]]\n```python\nprint(1)\n```\n\n[[ ## completed ## ]]"
    )
    found = lampc.ChatAdapter().parse(s, said)
    assert found["out_calls"].tool_calls[0].name == "search"
    assert found["out_calls"].tool_calls[0].args == {"query": "x"}
    assert found["out_code"].code == "print(1)"


def test_a_failure_says_what_could_not_be_read_under_dspys_names() -> None:
    s = signature(lampc, question=str, out=int)
    with pytest.raises(lampc.AdapterParseError, match="output `out`") as caught:
        lampc.ChatAdapter().parse(s, "[[ ## out ## ]]\nmany")
    assert caught.value.lm_response == "[[ ## out ## ]]\nmany"
    assert caught.value.adapter_name == "ChatAdapter"
    assert caught.value.signature is s
    assert isinstance(caught.value, ParseFailure | lampc.DSPyError)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_parts_of_a_prompt_are_dspys(adapter: str) -> None:
    values = {"question": "q", "out_a": "x", "out_n": 3}
    found = []
    for lib in (dspy, lampc):
        s = signature(lib, question=str, out_a=str, out_n=int)
        made = getattr(lib, adapter)()
        found.append(
            (
                made.format_system_message(s),
                made.format_field_description(s),
                made.format_field_structure(s),
                made.format_task_description(s),
                made.format_user_message_content(s, values, prefix="p", suffix="s", main_request=True),
                made.format_assistant_message_content(s, values),
                made.format_demos(s, [values, {"question": "only", "out_a": "this"}, {"question": "nothing"}]),
                made.user_message_output_requirements(s),
            )
        )
        if adapter != "JSONAdapter":
            found[-1] += (made.format_finetune_data(s, [values], {"question": "q"}, values),)
    assert found[1] == found[0]


def test_the_first_of_two_steps_describes_the_task_as_dspy_does() -> None:
    theirs = dspy.TwoStepAdapter(dspy.LM("openai/x")).format_task_description(signature(dspy, question=str, out=int))
    assert lampc.TwoStepAdapter().format_task_description(signature(lampc, question=str, out=int)) == theirs


def test_annotated_types_and_objects_in_texts_are_shown_as_dspy_shows_them() -> None:
    class Told(pydantic.BaseModel):
        x: int

    def program(d: Any) -> Any:
        class Typed(d.Signature):  # type: ignore[misc]
            """Say."""

            q: Annotated[str, "meta"] = d.InputField()
            n: Annotated[int, pydantic.Field(ge=0)] = d.OutputField()
            m: Annotated[Optional[int], "z"] = d.OutputField()  # noqa: UP045

        texts = d.Signature("q: str, more: list[str] -> x: None, y: Annotated[int, 'z']")
        given = [
            d.Prediction(a=1), d.Example(a=1), [d.Example(a=1)], [Told(x=1)], (1, "a"), {1}, [(1, 2), {"k": [None]}],
            {"k": Told(x=2)}, Told(x=3), ["a", "b"], [], 3.0, True,
        ]  # fmt: skip
        chat = d.ChatAdapter()
        return [chat.format(Typed, [], {"q": "x"})] + [chat.format(texts, [], {"q": v, "more": ["a"]}) for v in given]

    assert program(lampc) == program(dspy)
