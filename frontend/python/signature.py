"""Signatures in Python: the string form, the class form, and editing that gives new signatures."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lampc.frontend.python.annotations import BadType, to_type
from lampc.frontend.python.codes import wrong
from lampc.frontend.python.fields import FieldInfo
from lampc.frontend.python.frames import Visible
from lampc.ir import Signature as IRSignature
from lampc.ir.types import STR


class SignatureMeta(type):
    """Metaclass of signatures: reads the class form, and makes `Signature("a -> b")` give a class."""

    _fields: dict[str, FieldInfo]
    _instruction: str

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> SignatureMeta:
        made = super().__new__(mcs, name, bases, {k: v for k, v in body.items() if not isinstance(v, FieldInfo)})
        if "_fields" in body:
            return made
        fields: dict[str, FieldInfo] = {}
        for base in reversed(bases):
            fields.update(getattr(base, "_fields", {}))
        annotations: dict[str, Any] = body.get("__annotations__") or _lazy_annotations(made)
        order = [n for n, v in body.items() if isinstance(v, FieldInfo)]
        for field in [*annotations, *(n for n in order if n not in annotations)]:
            if field.startswith("_") or field in ("model_config",):
                continue
            info = body.get(field)
            if not isinstance(info, FieldInfo):
                raise wrong("L0703", f"field `{field}` of signature `{name}` is neither input nor output")
            fields[field] = _typed(info, field, annotations.get(field, str), Visible())
        made._fields = fields
        doc = inspect.cleandoc(body.get("__doc__") or "").strip()
        made._instruction = doc or getattr(bases[0], "_instruction", "") if bases else doc
        return made

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """`Signature("q -> a", "instructions")` makes a signature; signatures have no instances."""
        if cls is not Signature:
            raise TypeError(f"`{cls.__name__}` is a signature: give it to Predict(...), it has no instances")
        return make_signature(*args, **kwargs)

    # -- what it says -------------------------------------------------------------------------------

    @property
    def fields(cls) -> dict[str, FieldInfo]:
        """All fields, inputs first."""
        return {**cls.input_fields, **cls.output_fields}

    @property
    def input_fields(cls) -> dict[str, FieldInfo]:
        return {n: f for n, f in cls._fields.items() if f.kind == "input"}

    @property
    def output_fields(cls) -> dict[str, FieldInfo]:
        return {n: f for n, f in cls._fields.items() if f.kind == "output"}

    @property
    def instructions(cls) -> str:
        """The instruction; where none was written, one that names the fields."""
        return cls._instruction or cls._bare().default_instruction()

    @property
    def signature(cls) -> str:
        """The names of the fields, as in the string form."""
        return f"{', '.join(cls.input_fields)} -> {', '.join(cls.output_fields)}"

    def ir(cls) -> IRSignature:
        """The signature as the IR has it."""
        return replace(cls._bare(), instruction=cls.instructions)

    def _bare(cls) -> IRSignature:
        ins = tuple(f.ir() for f in cls.input_fields.values())
        outs = tuple(f.ir() for f in cls.output_fields.values())
        return IRSignature(ins, outs, "", "" if cls.__name__ == "StringSignature" else cls.__name__)

    def equals(cls, other: SignatureMeta) -> bool:
        """Whether instructions, field names, order and descriptions are equal."""
        mine = {n: (f.kind, f.desc, f.constraints) for n, f in cls.fields.items()}
        theirs = {n: (f.kind, f.desc, f.constraints) for n, f in other.fields.items()}
        return cls.instructions == other.instructions and list(mine.items()) == list(theirs.items())

    def __repr__(cls) -> str:
        return f"{cls.__name__}({cls.signature})"

    # -- editing: each gives a new signature ----------------------------------------------------------

    def _copy(cls, fields: Mapping[str, FieldInfo] | None = None, instruction: str | None = None) -> Any:
        body = {
            "_fields": dict(cls._fields if fields is None else fields),
            "_instruction": cls._instruction if instruction is None else instruction,
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
        }
        return SignatureMeta(cls.__name__, (Signature,), body)

    def with_instructions(cls, instructions: str) -> Any:
        return cls._copy(instruction=inspect.cleandoc(instructions))

    def append_instructions(cls, instructions: str) -> Any:
        """Add a paragraph to the instruction."""
        return cls._copy(instruction=f"{cls.instructions}\n\n{inspect.cleandoc(instructions)}")

    def with_updated_fields(cls, name: str, type_: Any = None, **options: Any) -> Any:
        """Change the type or the options of one field. Raises KeyError if there is no such field."""
        info = cls._fields[name].updated(**options)
        if type_ is not None:
            info = _typed(info, name, type_, Visible())
        return cls._copy({**cls._fields, name: info})

    def prepend(cls, name: str, field: Any, type_: Any = None) -> Any:
        """Add a field before the others of its kind."""
        return cls.insert(0, name, field, type_)

    def append(cls, name: str, field: Any, type_: Any = None) -> Any:
        """Add a field after the others of its kind."""
        return cls.insert(-1, name, field, type_)

    def insert(cls, index: int, name: str, field: Any, type_: Any = None) -> Any:
        """Add a field at `index` among the fields of its kind (negative from the end). Raises ValueError."""
        if not isinstance(field, FieldInfo):
            raise TypeError(f"field `{name}` is given as InputField(...) or OutputField(...)")
        info = _typed(field, name, str if type_ is None else type_, Visible())
        same = [(n, f) for n, f in cls._fields.items() if f.kind == info.kind and n != name]
        other = [(n, f) for n, f in cls._fields.items() if f.kind != info.kind and n != name]
        at = index if index >= 0 else len(same) + index + 1
        if not 0 <= at <= len(same):
            raise ValueError(f"there are {len(same)} {info.kind} fields, {index} is no place among them")
        same.insert(at, (name, info))
        return cls._copy(dict(same + other if info.kind == "input" else other + same))

    def delete(cls, name: str) -> Any:
        """Leave out a field; no field of that name is no error."""
        return cls._copy({n: f for n, f in cls._fields.items() if n != name})

    # -- state ----------------------------------------------------------------------------------------

    def dump_state(cls) -> dict[str, Any]:
        """Instruction and field texts, in the form that DSPy saves."""
        extras = [f.json_schema_extra for f in cls.fields.values()]
        return {
            "instructions": cls.instructions,
            "fields": [{"prefix": e["prefix"], "description": e["desc"]} for e in extras],
        }

    def load_state(cls, state: Mapping[str, Any]) -> Any:
        """A copy with the texts of a saved state; fields are matched by position. Raises ValueError."""
        saved = state.get("fields", [])
        if saved and len(saved) != len(cls.fields):
            raise ValueError(f"the saved signature has {len(saved)} fields, `{cls.__name__}` has {len(cls.fields)}")
        fields = dict(cls.fields)
        for (name, info), texts in zip(cls.fields.items(), saved, strict=False):
            fields[name] = info.updated(desc=texts.get("description", info.desc))
        return cls._copy(fields, state["instructions"])


class Signature(metaclass=SignatureMeta):
    """Base of signatures in class form.

    class QA(lampc.Signature):
        \"\"\"Answer the question.\"\"\"
        question: str = lampc.InputField()
        answer: str = lampc.OutputField(desc="one to five words")
    """

    _fields: dict[str, FieldInfo] = {}  # noqa: RUF012 - replaced, never changed
    _instruction: str = ""


def make_signature(
    signature: str | Mapping[str, Any],
    instructions: str | None = None,
    signature_name: str = "StringSignature",
    custom_types: Mapping[str, type] | None = None,
) -> Any:
    """A signature out of `"a, b: int -> c: Literal['x', 'y']"` or of a dict of (type, field) pairs."""
    if isinstance(signature, str):
        fields = parse_fields(signature, custom_types or {})
    else:
        fields = {n: _typed(info, n, t, Visible()) for n, (t, info) in signature.items()}
    body = {"_fields": fields, "_instruction": inspect.cleandoc(instructions or "")}
    return SignatureMeta(signature_name, (Signature,), body)


def ensure_signature(signature: Any, instructions: str | None = None) -> Any:
    """A signature class out of any form. Raises TypeError if it is none."""
    if isinstance(signature, SignatureMeta):
        return signature.with_instructions(instructions) if instructions else signature
    if isinstance(signature, str):
        return make_signature(signature, instructions)
    raise TypeError(f'a signature is a class or a text such as "question -> answer", not {signature!r}')


def parse_fields(text: str, custom_types: Mapping[str, Any]) -> dict[str, FieldInfo]:
    """Fields of the string form. Raises CompileError (L0701, L0702) placed at the user's line."""
    if text.count("->") != 1:
        raise wrong("L0701", f'signature "{text}" needs exactly one `->` between inputs and outputs')
    out: dict[str, FieldInfo] = {}
    for kind, side in zip(("input", "output"), text.split("->"), strict=True):
        try:
            tree = ast.parse(f"def f({side.strip()}): pass").body[0]
        except SyntaxError:
            raise wrong("L0701", f'the {kind}s of signature "{text}" cannot be read: `{side.strip()}`') from None
        assert isinstance(tree, ast.FunctionDef)
        args = tree.args
        if args.vararg or args.kwarg or args.kwonlyargs or args.posonlyargs or args.defaults:
            raise wrong("L0701", f'signature "{text}": write `name` or `name: type`, nothing else')
        for arg in args.args:
            if arg.arg in out:
                raise wrong("L0701", f'signature "{text}" has two fields called `{arg.arg}`')
            annotation = ast.unparse(arg.annotation) if arg.annotation else "str"
            info = FieldInfo(kind)
            out[arg.arg] = _typed(info, arg.arg, annotation, _Merged(custom_types, Visible()))
        if not args.args:
            raise wrong("L0701", f'signature "{text}" has no {kind}s')
    return out


class _Merged(Mapping[str, Any]):
    def __init__(self, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
        self.first, self.second = first, second

    def __getitem__(self, key: str) -> Any:
        return self.first[key] if key in self.first else self.second[key]

    def __iter__(self) -> Any:
        return iter({*self.first, *self.second})

    def __len__(self) -> int:
        return len({*self.first, *self.second})


def _typed(info: FieldInfo, name: str, annotation: Any, names: Mapping[str, Any]) -> FieldInfo:
    try:
        read = STR if annotation is str else to_type(annotation, names)
    except BadType as e:
        raise wrong("L0702", f"field `{name}`: {e}") from None
    return replace(info, name=name, annotation=annotation, type=read)


def _lazy_annotations(made: type) -> dict[str, Any]:
    """Annotations where class bodies no longer hold them as a dict."""
    return dict(inspect.get_annotations(made))
