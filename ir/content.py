"""What LM calls are made of, as data: fields, signatures, demos, sampling, keys, references to Python."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lampc.ir.attrs import Attr, Obj, attribute, thaw
from lampc.ir.limits import beyond
from lampc.ir.types import Maybe, Record, Type, mismatch


@attribute("shape")
class Shape:
    """How a field's type stands in prompts, where its IR type does not say it all: types of Python that are more
    than their values, as models, enums, unions and types with a text of their own.

    `name` is the type as Python writes it (`list[Passage]`). `form` says how a value is asked for and read:
    `schema` (JSON), `literal` and `enum` (one of `options`, JSON values; an enum's members are called `names`),
    `text` (as a str), `code` (text, perhaps in a fence), `history` (turns of the conversation, no value of the
    message), `custom` (JSON, or the text itself where that does not fit). `schema` is the JSON schema of values,
    keys in the order in which pydantic gives them (adapters sort where a prompt wants that). `about` describes the
    custom types in it: (name, description). `sketch` is the schema in few tokens, for the layout `baml`, and
    `nested` says that `xml` writes a value as elements within its element: both as
    `lampc.frontend.python.telling` finds them.
    """

    name: str
    form: str = "schema"
    options: tuple[Attr, ...] = ()
    names: tuple[str, ...] = ()
    schema: Attr = None
    about: tuple[tuple[str, str], ...] = ()
    sketch: str = ""
    nested: bool = False


@attribute("field")
class Field:
    """One typed field of a signature. `desc` and `constraints` are prose for the prompt, `limits` the constraints
    that values are held to (`ge = 0`, see `lampc.ir.limits`); `max_tokens` bounds the tokens of an output's value
    (0: the call's own bound; see `lampc.ir.adapters.lengths`). `default` holds what an output is that the model left
    out: one value or none. An input that is not `given` in a call is described, and stands not in its message.
    """

    name: str
    type: Type
    desc: str = ""
    constraints: str = ""
    max_tokens: int = 0
    shape: Shape | None = None
    limits: Obj = Obj()
    default: tuple[Attr, ...] = ()
    given: bool = True

    def optional(self) -> bool:
        """Whether the model may leave this output out."""
        return bool(self.default) or isinstance(self.type, Maybe)

    def absent(self) -> Any:
        """The plain value of an optional output that the model left out."""
        return thaw(self.default[0]) if self.default else None

    def misfit(self, value: Any) -> str | None:
        """Why a plain value is none of this field, by type, options and limits; None if it is one."""
        if why := mismatch(value, self.type):
            return why
        if self.shape is not None and self.shape.options and value is not None:
            known = [thaw(o) for o in self.shape.options]
            if not any(type(value) is type(o) and value == o for o in known):
                return f"{value!r} is none of {', '.join(map(str, known))}"
        return beyond(value, self.limits)


@attribute("signature")
class Signature:
    """What a call takes and gives, and the instruction that says how."""

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    instruction: str = ""
    name: str = ""

    def record(self) -> Record:
        """Type of the record that a call returns."""
        return Record(tuple((f.name, f.type) for f in self.outputs))

    def input(self, name: str) -> Field | None:
        return next((f for f in self.inputs if f.name == name), None)

    def output(self, name: str) -> Field | None:
        return next((f for f in self.outputs if f.name == name), None)

    def with_instruction(self, text: str) -> Signature:
        return replace(self, instruction=text)

    def default_instruction(self) -> str:
        """What is said when the author said nothing."""
        ins = ", ".join(f"`{f.name}`" for f in self.inputs)
        outs = ", ".join(f"`{f.name}`" for f in self.outputs)
        return f"Given the fields {ins}, produce the fields {outs}."


@attribute("demo")
class Demo:
    """One worked example: values by field name. `augmented` marks one that a program's trace gave."""

    values: Obj
    augmented: bool = False


@attribute("demos")
class DemoSet:
    """Demos in the order in which they stand in the prompt."""

    items: tuple[Demo, ...] = ()


@attribute("kept")
class Kept:
    """What every candidate's prompt holds of a predictor: text before and after its instruction, demos before its own.

    An instruction that holds a text itself, and a demo of equal values, are not doubled.
    """

    before: str = ""
    after: str = ""
    demos: DemoSet = DemoSet()

    def instruction(self, text: str) -> str:
        """An instruction with what is kept."""
        parts = (self.before if self.before not in text else "", text, self.after if self.after not in text else "")
        return "\n".join(p for p in parts if p)

    def shown(self, demos: DemoSet) -> DemoSet:
        """Demos with those that are kept before them."""
        if not self.demos.items:
            return demos
        known = {d.values for d in self.demos.items}
        return DemoSet((*self.demos.items, *(d for d in demos.items if d.values not in known)))


NOTHING_KEPT = Kept()


SPREAD = "spread"
"""Among what is `firm` of a sampling: its temperature only keeps several samples apart, one that a model has goes
before it."""


@attribute("sampling")
class Sampling:
    """How tokens are drawn: greedy at temperature 0. `max_tokens` 0 is as many as the model may write.

    A model may have defaults of its own, which stand in for options that equal the ones here; `firm` names those that
    were said although they equal them. `extra` (a JSON object as text) holds options that an endpoint alone knows, for
    this call. Penalties and `logit_bias` (pairs of token id and number) mean what they do in `docs/engine.md`.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    firm: tuple[str, ...] = ()
    extra: str = ""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    min_p: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()


@attribute("part")
class Part:
    """One of the predictors that a joint one stands for: what the joint signature calls each of its fields."""

    predictor: str
    names: Obj


@attribute("key")
class Key:
    """Where the randomness of a call comes from: call sites from the outside in, each with its occurrence.

    Frozen by the frontend and carried unchanged by passes; inlining prepends the caller's path.
    """

    path: tuple[str, ...]

    def under(self, outer: Key) -> Key:
        return Key(outer.path + self.path)


@attribute("host")
class HostRef:
    """A Python function: `module:qualname` and a digest of its source ("" if it could not be read)."""

    target: str
    source: str = ""


@attribute("cascade")
class Cascade:
    """A cheap model that a predictor asks first: `proxy` (a model's name). Its answer stands if the model gave it a
    probability of at least `threshold` and it can be read; else the predictor's own model is asked.

    `record` says what is known of it: by which test the threshold was found, on how many rows.
    """

    proxy: str
    threshold: float
    record: Obj = Obj()


PARAMETERS = ("instruction", "demos", "layout", "model")
"""What may be changed of each predictor `p`: the parameters `p.instruction`, `p.demos`, ..."""


@attribute("assignment")
class Assignment:
    """A candidate: values for named parameters (`qa.instruction`, `qa.demos`, `qa.layout`, a `tune` name)."""

    values: Obj = Obj()

    def get(self, parameter: str, default: Attr = None) -> Attr:
        return self.values.get(parameter, default)

    def updated(self, **changes: Attr) -> Assignment:
        """A copy with parameters changed; write `qa.demos` as the key of a dict: `updated(**{"qa.demos": d})`."""
        merged = {**self.values, **changes}
        return Assignment(Obj(tuple(sorted(merged.items()))))
