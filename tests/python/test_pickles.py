"""Signatures made at run time, and what holds them, in pickles: read by this process and by another."""

from __future__ import annotations

import enum
import io
import os
import pickle
import subprocess
import sys
import types
from typing import Any, Optional

import pytest

import lampc
from lampc.frontend.python.pickled import reduced, restored
from lampc.runtime.scripted import DummyLM


class Tone(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Kept(lampc.Signature):
    """Say the tone."""

    text: str = lampc.InputField()
    tone: Tone = lampc.OutputField()


class Reply(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.think = lampc.ChainOfThought("question -> answer: int", temperature=0.5)
        self.tell = lampc.Predict(lampc.Signature("answer: int -> line", "Say it."), max_tokens=9)

    def forward(self, question: str) -> Any:
        return self.tell(answer=self.think(question=question).answer)


def again(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


def elsewhere(thing: Any, code: str) -> str:
    """What a new process prints that reads the pickle of `thing` into `thing` and runs `code`."""
    head = "import pickle, sys\nthing = pickle.loads(sys.stdin.buffer.read())\n"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", head + code], input=pickle.dumps(thing), capture_output=True, env=env, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def local() -> Any:
    class Inside(lampc.Signature):
        """Answer briefly."""

        question: str = lampc.InputField(desc="what is asked")
        count: int = lampc.InputField(default=3)
        words: list[str] = lampc.OutputField(min_length=1, max_tokens=12, default_factory=list)

    return lampc.layout("question", "instruction", frozen=True)(Inside)


MADE = {
    "text": lambda: lampc.Signature("question -> answer"),
    "types": lambda: lampc.Signature("q: list[int], r: Optional[float] -> a: Literal['x', 'y'], b: dict[str, bool]"),
    "instructions": lambda: lampc.Signature("q -> a", "Answer in a word."),
    "name": lambda: lampc.Signature("q -> a", signature_name="Short"),
    "enum": lambda: lampc.Signature("q -> tone: Tone", custom_types={"Tone": Tone}),
    "dict": lambda: lampc.Signature({"q": (str, lampc.InputField()), "a": (int | None, lampc.OutputField(ge=1))}),
    "edited class": lambda: Kept.with_instructions("Say it.").append("why", lampc.OutputField(), Optional[str]),  # noqa: UP045
    "texts": lambda: Kept.load_state({**Kept.dump_state(), "instructions": ""}),
    "local class": local,
    "picture": lambda: lampc.Signature({"p": (lampc.Image, lampc.InputField()), "a": (str, lampc.OutputField())}),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_signatures_come_back_as_they_were(make: Any) -> None:
    made = make()
    back = again(made)
    assert back is not made
    assert back.equals(made)
    assert back.ir() == made.ir()
    assert repr(back) == repr(made)
    assert [back.__name__, back.__doc__, back.__module__] == [made.__name__, made.__doc__, made.__module__]
    assert {n: (f.is_required(), f.max_tokens, f.annotation) for n, f in back.fields.items()} == {
        n: (f.is_required(), f.max_tokens, f.annotation) for n, f in made.fields.items()
    }
    assert lampc.Predict(back).layout_in_force() == lampc.Predict(made).layout_in_force()
    assert back.with_instructions("New.").ir() == made.with_instructions("New.").ir()


def test_a_class_that_can_be_imported_is_its_name() -> None:
    assert again(Kept) is Kept
    assert again(lampc.Signature) is lampc.Signature


@pytest.mark.parametrize("module", [lampc.Predict, lampc.ChainOfThought])
def test_predictions_of_string_signatures_cross_processes(module: Any) -> None:
    with lampc.context(lm=DummyLM([{"reasoning": "so", "answer": "4"}, {"reasoning": "no", "answer": "5"}])):
        made = module("question -> answer", n=2, temperature=1.0)(question="2 + 2")
    back = again(made)
    assert back == made
    assert [c.answer for c in back.completions] == ["4", "5"]
    assert back.completions.signature.equals(made.completions.signature)
    told = "print(thing.answer, len(thing.completions), *thing.completions.signature.output_fields, thing._call.bound)"
    fields = " ".join(made.completions.signature.output_fields)
    assert elsewhere(made, told) == f"4 2 {fields} {made._call.bound}"


def test_modules_run_alike_in_another_process() -> None:
    program = Reply()
    program.think.predict.demos = [lampc.Example(question="1 + 1", reasoning="so", answer=2)]
    code = (
        "import lampc\nfrom lampc.runtime.scripted import DummyLM\n"
        "lm = DummyLM([{'reasoning': 'r', 'answer': '4'}, {'line': 'four'}])\n"
        "with lampc.context(lm=lm):\n    print(thing(question='2 + 2').line)\n"
        "print(lm.prompts)"
    )
    lm = DummyLM([{"reasoning": "r", "answer": "4"}, {"line": "four"}])
    with lampc.context(lm=lm):
        line = program(question="2 + 2").line
    assert elsewhere(program, code) == f"{line}\n{lm.prompts}"


def test_a_call_goes_on_from_an_answer_of_a_string_signature() -> None:
    """As with classes, in `test_after.py`."""
    lm = DummyLM([{"answer": "4"}, {"line": "x"}, {"line": "x"}])
    with lampc.context(lm=lm):
        first = lampc.Predict("question -> answer")(question="2 + 2")
        tell = lampc.Predict("style -> line")
        assert tell(style="kind", after=first) == tell(style="kind", after=again(first))
        assert lm.prompts[1] == lm.prompts[2]


def test_pickles_name_types_and_what_makes_a_signature_alone() -> None:
    found = set()

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found.add(f"{module}.{name}")
            return super().find_class(module, name)

    made = lampc.Signature("q: list[str] -> a: Literal['x']")
    assert Reader(io.BytesIO(pickle.dumps(made))).load().equals(made)
    types = {"types.GenericAlias", "builtins.list", "builtins.str", "_operator.getitem", "typing.Literal"}
    assert found == {"lampc.frontend.python.pickled.restored", "lampc.ir.attrs.Obj", *types}


def test_what_is_no_definition_is_refused() -> None:
    made = reduced(lampc.Signature("q -> a"))
    assert isinstance(made, tuple)
    names, said, doc, order, parts = made[1]
    assert restored(names, said, doc, order, parts).signature == "q -> a"
    a = parts["a"]
    wrong = [
        (("x",), said, doc, order, parts),
        (names, 3, doc, order, parts),
        (names, said, b"x", order, parts),
        (names, said, doc, ((1,), False), parts),
        (names, said, doc, order, [("a", a)]),
        (names, said, doc, order, {"not a name": a}),
        (names, said, doc, order, {"a": {**a, "kind": "both"}}),
        (names, said, doc, order, {"a": {**a, "name": "b"}}),
        (names, said, doc, order, {"a": {**a, "max_tokens": -1}}),
        (names, said, doc, order, {"a": {**a, "default_factory": "list"}}),
        (names, said, doc, order, {"a": {"kind": "output"}}),
        (names, said, doc, order, {"a": {**a, "annotation": "antigravity.fly"}}),
        (names, said, doc, order, {"a": {**a, "annotation": types.GenericAlias(list, ("antigravity.fly",))}}),
    ]
    for given in wrong:
        with pytest.raises(ValueError, match="this is no pickle of a signature"):
            restored(*given)
    assert "antigravity" not in sys.modules
    with pytest.raises(lampc.CompileError, match="field `a` of a pickled signature"):
        restored(names, said, doc, order, {"a": {**a, "annotation": 3}})


def test_types_spelt_as_texts_are_told() -> None:
    spelt = lampc.Signature({"q": (str, lampc.InputField()), "a": (list["Tone"], lampc.OutputField())})
    with pytest.raises(pickle.PicklingError, match=r"field `a` of signature `StringSignature`: its type .* by a text"):
        pickle.dumps(spelt)
