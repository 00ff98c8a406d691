"""Signatures in Python: the class form, and editing that gives new signatures."""

from __future__ import annotations

import copyreg
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, get_origin

from lampc.frontend.python.fields import FieldInfo
from lampc.frontend.python.signature_text import Names, bad_signature, parse_fields
from lampc.frontend.python.values.names import BadType
from lampc.frontend.python.values.plain import fitted, plain, plain_in_text
from lampc.frontend.python.values.reading import read
from lampc.ir import Signature as IRSignature
from lampc.ir.adapters import ParseFailure
from lampc.ir.adapters.schema import is_text

_NAME = "StringSignature"


class SignatureMeta(type):
    """Metaclass of signatures: reads the class form, and makes `Signature("a -> b")` give a class.

    A signature never changes: what edits it gives another one, and setting an attribute is an error. Its `__doc__`
    alone can be set, and is the instruction from then on, as in DSPy.
    """

    _fields: dict[str, FieldInfo]
    _instruction: str | None
    _cache: dict[str, Any]

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> SignatureMeta:
        own = {k: v for k, v in body.items() if not isinstance(v, FieldInfo)}
        own["_cache"] = {}
        if "_fields" in body:
            return super().__new__(mcs, name, bases, own)
        made = super().__new__(mcs, name, bases, own)
        parents = [b for b in bases if isinstance(b, SignatureMeta)]
        doc = body.get("__doc__")
        if doc is None:
            said = [b._instruction or b.instructions for b in parents if b._fields or b._instruction]
            doc = said[-1] if said else None
        _set(made, "_instruction", doc)
        _set(made, "_fields", _declared(made, parents, body))
        return made

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """`Signature("q -> a", "instructions")` makes a signature; signatures have no instances."""
        if cls is not Signature:
            raise TypeError(f"`{cls.__name__}` is a signature: give it to Predict(...), it has no instances")
        return make_signature(*args, **kwargs)

    def __setattr__(cls, name: str, value: Any) -> None:
        if name == "__doc__":  # how programs of DSPy write an instruction that they compute
            super().__setattr__(name, value)
            super().__setattr__("_instruction", value)
            cls.__dict__["_cache"].clear()
            return
        if name.startswith("__"):
            super().__setattr__(name, value)
            return
        how = ": write `signature = signature.with_instructions(...)`" if name == "instructions" else ""
        raise AttributeError(f"`{cls.__name__}.{name}` cannot be set, since signatures never change{how}")

    # -- what it says -------------------------------------------------------------------------------

    @property
    def fields(cls) -> dict[str, FieldInfo]:
        """All fields, inputs first."""
        return {**cls.input_fields, **cls.output_fields}

    @property
    def model_fields(cls) -> dict[str, FieldInfo]:
        """All fields, in the order in which they are written."""
        return dict(cls._fields)

    @property
    def input_fields(cls) -> dict[str, FieldInfo]:
        return {n: f for n, f in cls._fields.items() if f.kind == "input"}

    @property
    def output_fields(cls) -> dict[str, FieldInfo]:
        return {n: f for n, f in cls._fields.items() if f.kind == "output"}

    @property
    def instructions(cls) -> str:
        """The instruction; where none was written, one that names the fields."""
        text: str = cls._kept("instructions", cls._read_instruction)
        return text

    def _read_instruction(cls) -> str:
        if cls._instruction is not None:
            return inspect.cleandoc(cls._instruction)
        ins, outs = (", ".join(f"`{n}`" for n in f) for f in (cls.input_fields, cls.output_fields))
        return f"Given the fields {ins}, produce the fields {outs}."

    @property
    def signature(cls) -> str:
        """The names of the fields, as in the string form."""
        return f"{', '.join(cls.input_fields)} -> {', '.join(cls.output_fields)}"

    def ir(cls) -> IRSignature:
        """The signature as the IR has it. Raises CompileError (L0702) for an output that has no JSON schema."""
        made: IRSignature = cls._kept("ir", cls._lower)
        return made

    def _lower(cls) -> IRSignature:
        sides = []
        for fields in (cls.input_fields, cls.output_fields):
            try:
                sides.append(tuple(f.ir() for f in fields.values()))
            except BadType as e:
                raise bad_signature("L0702", f"signature `{cls.__name__}`: {e}") from None
        name = "" if cls.__name__ == _NAME else cls.__name__
        return IRSignature(sides[0], sides[1], cls.instructions, name)

    def _kept(cls, what: str, make: Callable[[], Any]) -> Any:
        cache = cls.__dict__["_cache"]
        if what not in cache:
            cache[what] = make()
        return cache[what]

    def equals(cls, other: Any) -> bool:
        """Whether instructions, field names and what DSPy keeps of each field are equal; types do not count."""
        if not isinstance(other, SignatureMeta) or cls.instructions != other.instructions:
            return False
        mine, theirs = cls.fields, other.fields
        if mine.keys() != theirs.keys():
            return False
        return all(f.json_schema_extra == theirs[n].json_schema_extra for n, f in mine.items())

    def __repr__(cls) -> str:
        fields = "".join(f"\n    {n} = Field({f})" for n, f in cls.fields.items())
        return f"{cls.__name__}({cls.signature}\n    instructions={cls.instructions!r}{fields}\n)"

    # -- values ---------------------------------------------------------------------------------------

    def lower(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs as JSON, by name; a missing one that has a default gets it. Names of no inputs stay as they are."""
        out = dict(inputs)
        for name, info, in_text in cls._kept("inputs", cls._input_fields):
            if name in out:
                if type(out[name]) is not str:
                    out[name] = plain_in_text(out[name]) if in_text else plain(fitted(out[name], info.type))
            elif not info.is_required():
                out[name] = plain(info.get_default())
        return out

    def _input_fields(cls) -> list[tuple[str, FieldInfo, bool]]:
        return [(n, f, is_text(f.ir())) for n, f in cls.input_fields.items()]

    def lift(cls, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs as objects of the annotated classes. Raises ParseFailure for JSON that stands for no object."""
        found = dict(outputs)
        for name, info in cls._kept("objects", cls._object_fields):
            if name in found and (found[name] is not None or not info.optional()):
                try:
                    found[name] = info.reading.lift(found[name])
                except ValueError as e:
                    raise ParseFailure(f"output `{name}`: {e}", str(outputs[name]), dict(outputs)) from None
        return found

    def _object_fields(cls) -> list[tuple[str, FieldInfo]]:
        return [(n, f) for n, f in cls.output_fields.items() if f.reading is not None and not f.reading.native]

    # -- editing: each gives a new signature ----------------------------------------------------------

    def _copy(
        cls, fields: Mapping[str, FieldInfo] | None = None, instruction: str | None = None, blank: bool = False
    ) -> Any:
        """As DSPy has it, an empty instruction is the default one, unless `blank` says that it is meant."""
        text = cls.instructions if instruction is None else instruction
        body = {
            "_fields": cls._fields if fields is None else dict(fields),
            "_instruction": text if blank else text or None,
            "__doc__": text,
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__layout__": getattr(cls, "__layout__", ((), False)),
        }
        return SignatureMeta(cls.__name__, (Signature,), body)

    def with_instructions(cls, instructions: str) -> Any:
        return cls._copy(instruction=instructions)

    def append_instructions(cls, instructions: str) -> Any:
        """Add a paragraph to the instruction."""
        return cls._copy(instruction=f"{cls.instructions}\n\n{instructions}")

    def with_updated_fields(cls, name: str, type_: Any = None, **options: Any) -> Any:
        """Change the type or the options of one field. Raises KeyError if there is no such field."""
        info = cls.fields[name].updated(**options)
        if type_ is not None:
            info = _typed(info, name, type_, Names({}))
        return cls._copy({**cls.fields, name: info})

    def prepend(cls, name: str, field: Any, type_: Any = None) -> Any:
        """Add a field before the others of its kind."""
        return cls.insert(0, name, field, type_)

    def append(cls, name: str, field: Any, type_: Any = None) -> Any:
        """Add a field after the others of its kind."""
        return cls.insert(-1, name, field, type_)

    def insert(cls, index: int, name: str, field: Any, type_: Any = None) -> Any:
        """Add a field at `index` among the fields of its kind (negative from the end). Raises ValueError.

        As in DSPy, a name that is there already keeps the later of the two fields, in the place of the first.
        """
        if not isinstance(field, FieldInfo):
            raise TypeError(f"field `{name}` is given as InputField(...) or OutputField(...)")
        annotation = field.annotation if type_ is None else type_
        info = _typed(field, name, str if annotation is None else annotation, Names({}))
        sides = {"input": list(cls.input_fields.items()), "output": list(cls.output_fields.items())}
        same = sides[info.kind]
        at = index if index >= 0 else len(same) + index + 1
        if not 0 <= at <= len(same):
            raise ValueError(f"there are {len(same)} {info.kind} fields, {index} is no place among them")
        same.insert(at, (name, info))
        return cls._copy(dict(sides["input"] + sides["output"]))

    def delete(cls, name: str) -> Any:
        """Leave out a field; no field of that name is no error."""
        return cls._copy({n: f for n, f in cls.fields.items() if n != name})

    # -- state ----------------------------------------------------------------------------------------

    def dump_state(cls) -> dict[str, Any]:
        """Instruction and field texts, in the form that DSPy saves."""
        texts = [{"prefix": f.prefix, "description": f.desc} for f in cls.fields.values()]
        return {"instructions": cls.instructions, "fields": texts}

    def load_state(cls, state: Mapping[str, Any]) -> Any:
        """A copy with the texts of a saved state; fields are matched by position. Raises ValueError."""
        saved = state.get("fields", [])
        if saved and len(saved) != len(cls.fields):
            raise ValueError(f"the saved signature has {len(saved)} fields, `{cls.__name__}` has {len(cls.fields)}")
        fields = dict(cls.fields)
        for (name, info), texts in zip(cls.fields.items(), saved, strict=False):
            desc, prefix = texts.get("description", info.description), texts.get("prefix", info.own_prefix)
            fields[name] = replace(info, description=desc, own_prefix=prefix)
        return cls._copy(fields, state["instructions"], blank=True)


if TYPE_CHECKING:
    from lampc.frontend.python.typed import Answer as _Base
else:
    _Base = object


class Signature(_Base, metaclass=SignatureMeta):
    # No docstring: it would be an instruction.
    #
    # class QA(lampc.Signature):
    #     """Answer the question."""
    #     question: str = lampc.InputField()
    #     answer: str = lampc.OutputField(desc="one to five words")
    _fields: ClassVar[dict[str, FieldInfo]] = {}
    _instruction: ClassVar[str | None] = None

    if TYPE_CHECKING:

        def __new__(
            cls,
            signature: str | Mapping[str, Any],
            instructions: str | None = None,
            signature_name: str = _NAME,
            custom_types: Mapping[str, Any] | None = None,
        ) -> Any: ...


def make_signature(
    signature: str | Mapping[str, Any],
    instructions: str | None = None,
    signature_name: str = _NAME,
    custom_types: Mapping[str, Any] | None = None,
) -> Any:
    """A signature out of `"a, b: int -> c: Literal['x', 'y']"`, or of a dict of fields or (type, field) pairs.

    Raises CompileError for a text that cannot be read, ValueError for a dict of something else.
    """
    if isinstance(signature, str):
        fields = parse_fields(signature, custom_types)
    else:
        fields = _of_dict(signature, custom_types)
    body = {"_fields": fields, "_instruction": instructions or None, "__doc__": instructions, "__module__": __name__}
    return SignatureMeta(signature_name, (Signature,), body)


def ensure_signature(signature: Any, instructions: str | None = None) -> Any:
    """A signature class out of any form; None stays None. Raises TypeError if it is none."""
    if isinstance(signature, SignatureMeta):
        return signature.with_instructions(instructions) if instructions else signature
    if isinstance(signature, str):
        return make_signature(signature, instructions)
    if signature is None:
        return None
    raise TypeError(f'a signature is a class or a text such as "question -> answer", not {signature!r}')


def _of_dict(given: Mapping[str, Any], custom_types: Mapping[str, Any] | None) -> dict[str, FieldInfo]:
    out = {}
    for name, part in given.items():
        if not isinstance(name, str):
            raise ValueError(f"names of fields are texts, not {name!r}")
        pair = (part.annotation, part) if isinstance(part, FieldInfo) else part
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], FieldInfo)):
            raise ValueError(f"field `{name}` is given as (type, InputField(...)), not {part!r}")
        annotation = str if pair[0] is None else pair[0]
        out[name] = _typed(pair[1], name, annotation, Names(custom_types or {}))
    return out


def _declared(made: type, parents: list[SignatureMeta], body: dict[str, Any]) -> dict[str, FieldInfo]:
    """The fields of the class form, those of the bases first. Raises CompileError (L0702, L0703)."""
    fields: dict[str, FieldInfo] = {}
    for base in reversed(parents):
        fields.update(base._fields)
    annotations: dict[str, Any] = body.get("__annotations__") or dict(inspect.get_annotations(made))
    names = Names({})
    for name, value in body.items():
        odd = not (name.startswith("_") or name in annotations or callable(value) or hasattr(value, "__get__"))
        if odd and not isinstance(value, FieldInfo) and name != "model_config":
            raise bad_signature("L0703", f"`{name}` of signature `{made.__name__}` is no field and has no type")
    written = {n: v for n, v in body.items() if isinstance(v, FieldInfo)}
    for name in [*written, *(n for n in annotations if n not in written)]:
        if name.startswith("_") or name == "model_config" or _is_classvar(annotations.get(name)):
            continue
        info = written.get(name)
        if info is None:
            raise bad_signature("L0703", f"field `{name}` of signature `{made.__name__}` is neither input nor output")
        if name not in annotations:
            info = replace(info, undefined=True)
        fields[name] = _typed(info, name, annotations.get(name, str), names)
    return fields


def _typed(info: FieldInfo, name: str, annotation: Any, names: Mapping[str, Any]) -> FieldInfo:
    if info.name == name and info.reading is not None and info.annotation is annotation:
        return info
    try:
        reading = read(annotation, names)
    except BadType as e:
        raise bad_signature("L0702", f"field `{name}`: {e}") from None
    return replace(info, name=name, annotation=reading.annotation, reading=reading)


def _is_classvar(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.replace("typing.", "").startswith("ClassVar")
    return annotation is ClassVar or get_origin(annotation) is ClassVar


def _reduced(signature: SignatureMeta) -> str | tuple[Any, ...]:
    from lampc.frontend.python.pickled import reduced

    return reduced(signature)


copyreg.pickle(SignatureMeta, _reduced)  # pickle asks a class for no `__reduce__`


def _set(made: SignatureMeta, name: str, value: Any) -> None:
    type.__setattr__(made, name, value)


__all__ = ["Signature", "SignatureMeta", "ensure_signature", "make_signature"]
