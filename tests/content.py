"""Hypothesis strategies for content: types, attributes, prompts, locations, signatures, values and demos."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from lampc.ir import Derived, Loc, Obj, Span, Symbol, freeze
from lampc.ir.adapters import ADAPTERS
from lampc.ir.content import Assignment, Demo, DemoSet, Field, HostRef, Key, Sampling, Shape, Signature
from lampc.ir.prompt import Demos, Guide, Input, Instruction, Output, Prompt, Run, Text, Turn
from lampc.ir.types import ANY, BOOL, FLOAT, INT, KV, MEDIA, NONE, STR, Choice, ListOf, MapOf, Maybe, Record, Type

Draw = Callable[[st.SearchStrategy[Any]], Any]


words = st.sampled_from(
    ["red", "blue fox", "two\nlines", "", " spaced ", "«ö»", "1. a", "- b", "a: b", "[[ ## x ## ]]"]
)
texts = st.one_of(words, st.text(max_size=20))
names = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
symbols = st.one_of(names, st.text(min_size=1, max_size=6)).map(Symbol)
hosts = st.sampled_from(["", "", "pack.mod:Outer.Inner", "odd name"])
types: st.SearchStrategy[Type] = st.recursive(
    st.one_of(
        st.sampled_from([STR, INT, FLOAT, BOOL, ANY, NONE, MEDIA]),
        st.builds(Choice, st.lists(texts, max_size=3).map(tuple), hosts),
        st.just(KV),
    ),
    lambda inner: st.one_of(
        inner.map(ListOf),
        inner.map(Maybe),
        st.builds(MapOf, inner, st.sampled_from([STR, INT, Choice(("a", "b"))])),
        st.builds(Record, st.lists(st.tuples(st.one_of(names, texts), inner), max_size=3).map(tuple), hosts),
    ),
    max_leaves=5,
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
json_values = st.recursive(
    scalars, lambda x: st.one_of(st.lists(x, max_size=3), st.dictionaries(texts, x, max_size=3)), max_leaves=6
)
samplings = st.builds(
    Sampling,
    st.floats(0, 2),
    st.integers(0, 50),
    st.floats(0, 1),
    st.integers(1, 99),
    st.lists(texts, max_size=2).map(tuple),
    presence_penalty=st.floats(-2, 2),
    repetition_penalty=st.floats(0.1, 2),
    logit_bias=st.dictionaries(st.integers(0, 99), st.floats(-9, 9), max_size=2).map(lambda d: tuple(d.items())),
)
keys = st.lists(texts, min_size=1, max_size=3).map(lambda p: Key(tuple(p)))
shapes = st.builds(
    Shape,
    texts,
    st.sampled_from(["schema", "literal", "enum", "custom"]),
    st.lists(scalars, max_size=3).map(tuple),
    st.lists(texts, max_size=2).map(tuple),
    json_values.map(freeze),
    st.lists(st.tuples(texts, texts), max_size=2).map(tuple),
)
limits = st.dictionaries(st.sampled_from(["ge", "lt"]), st.integers(-9, 9)).map(freeze)
defaults = st.lists(json_values.map(freeze), max_size=1).map(tuple)
fields = st.builds(
    Field, names, types, texts, texts, st.integers(0, 99), st.one_of(st.none(), shapes), limits, defaults
)
demos = st.builds(Demo, st.dictionaries(names, json_values, max_size=3).map(freeze), st.booleans())
raw_signatures = st.builds(
    Signature, st.lists(fields, max_size=3).map(tuple), st.lists(fields, max_size=3).map(tuple), texts, texts
)
adapters = st.sampled_from(sorted(ADAPTERS))
segments = st.one_of(
    st.builds(Text, texts, st.booleans()),
    st.builds(Guide, texts),
    st.builds(Instruction, names, adapters),
    st.builds(Demos, names, adapters),
    st.builds(Input, st.integers(0, 3), fields, adapters),
    st.builds(Output, st.lists(names, max_size=3).map(tuple)),
)
turns = st.builds(
    Turn, st.sampled_from(["system", "user", "assistant", "demos"]), st.lists(segments, max_size=3).map(tuple)
)
prompts = st.builds(Prompt, st.lists(turns, max_size=4).map(tuple))
runs = st.builds(Run, st.lists(segments, max_size=3).map(tuple), st.lists(turns, max_size=2).map(tuple))
attributes: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        scalars, types, symbols, samplings, keys, fields, demos, raw_signatures, prompts, runs,
        st.builds(HostRef, texts, texts),
        st.lists(demos, max_size=2).map(lambda d: DemoSet(tuple(d))),
        st.dictionaries(texts, scalars, max_size=2).map(lambda d: Assignment(Obj(d))),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(texts, inner, max_size=3).map(Obj),
    ),
    max_leaves=4,
)  # fmt: skip
spans = st.builds(Span, texts, st.integers(1, 99), st.integers(1, 99), st.integers(0, 99), st.integers(0, 99), texts)
locations: st.SearchStrategy[Loc] = st.recursive(
    st.one_of(st.just(Loc()), spans),
    lambda inner: st.builds(Derived, texts, st.lists(inner, max_size=3).map(tuple)),
    max_leaves=4,
)

# -- values of types, signatures that can be asked for ----------------------------------------------------

FIELD_TYPES: tuple[Type, ...] = (
    STR, INT, BOOL, FLOAT, ListOf(STR), ListOf(INT), Choice(("yes", "no")), Maybe(STR), Maybe(INT),
    ListOf(Record((("name", STR), ("n", INT)))), Record((("name", STR), ("tags", ListOf(STR)))), MapOf(INT),
)  # fmt: skip


def values_of(t: Type) -> st.SearchStrategy[Any]:
    """Plain values of a type."""
    match t:
        case Choice(options):
            return st.sampled_from(options)
        case ListOf(item):
            return st.lists(values_of(item), max_size=3)
        case Maybe(item):
            return st.one_of(st.none(), values_of(item))
        case MapOf(item):
            return st.dictionaries(names, values_of(item), max_size=2)
        case Record(parts):
            return st.fixed_dictionaries({n: values_of(x) for n, x in parts})
    return {
        "str": texts, "int": st.integers(-9, 9), "bool": st.booleans(), "none": st.none(), "any": json_values,
        "float": st.floats(-9, 9, width=16),
    }[str(t)]  # fmt: skip


@st.composite
def signatures(draw: Draw, types: tuple[Type, ...] = FIELD_TYPES) -> Signature:
    """Signatures with distinct field names and types that adapters know."""
    chosen = draw(st.lists(names, min_size=2, max_size=5, unique=True))
    split = draw(st.integers(1, len(chosen) - 1))
    made = [
        Field(n, draw(st.sampled_from(types)), draw(st.sampled_from(["", "", "what it is"])),
              draw(st.sampled_from(["", "", "at most 3 words"])), draw(st.sampled_from([0, 0, 0, 8])))
        for n in chosen
    ]  # fmt: skip
    return Signature(tuple(made[:split]), tuple(made[split:]), draw(texts), "Sig")


@st.composite
def demos_for(draw: Draw, signature: Signature) -> Demo:
    """Demos with any subset of the signature's fields."""
    every = [*signature.inputs, *signature.outputs]
    kept = every if draw(st.booleans()) else draw(st.lists(st.sampled_from(every), unique_by=lambda f: f.name))
    return Demo(freeze({f.name: draw(values_of(f.type)) for f in every if f in kept}), draw(st.booleans()))
