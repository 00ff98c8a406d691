"""Several predictors as one call: its signature, instruction and demos, made of theirs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lampc.ir.attrs import Obj
from lampc.ir.content import Demo, DemoSet, Part, Signature

NOTE = "There are {} tasks here. Do each of them by its own rules, in this order, and give all output fields."


def joint_signature(parts: Sequence[tuple[Part, Signature]]) -> Signature:
    """Inputs and outputs of all, each joint name once. What a part takes from an earlier one is no input."""
    outputs = {part.names[f.name]: f for part, s in parts for f in s.outputs}
    inputs = {part.names[f.name]: f for part, s in parts for f in s.inputs if part.names[f.name] not in outputs}
    found = [tuple(replace(f, name=n) for n, f in fields.items()) for fields in (inputs, outputs)]
    told = [(part, s, s.instruction) for part, s in parts]
    return Signature(found[0], found[1], joint_instruction(told), " and ".join(s.name or p.predictor for p, s in parts))


def joint_instruction(parts: Sequence[tuple[Part, Signature, str]]) -> str:
    """The instruction of each part, with the joint names of its fields where it names them in backticks."""
    lines = [NOTE.format(len(parts))]
    for i, (part, signature, text) in enumerate(parts, 1):
        ins, outs = (
            ", ".join(f"`{part.names[f.name]}`" for f in fields) for fields in (signature.inputs, signature.outputs)
        )
        said = renamed(text.strip(), part.names)
        lines.append(f"\nTask {i}, from {ins} to {outs}:\n{said}" if said else f"\nTask {i}, from {ins} to {outs}.")
    return "\n".join(lines)


def renamed(text: str, names: Mapping[str, Any]) -> str:
    """A text with names of fields in backticks replaced by the joint ones."""
    return re.sub(r"`(\w+)`", lambda m: f"`{names.get(m.group(1), m.group(1))}`", text)


def joint_demos(parts: Sequence[tuple[Part, DemoSet]]) -> DemoSet:
    """Demos that all parts have of the same case: equal in the fields that they share. Others show a part of the
    answer alone, and are left out."""
    first, *rest = parts
    out = []
    for demo in first[1].items:
        values, augmented = _joint(first[0], demo), demo.augmented
        for part, demos in rest:
            found = next((d for d in demos.items if _agrees(values, _joint(part, d))), None)
            if found is None:
                break
            values |= _joint(part, found)
            augmented |= found.augmented
        else:
            out.append(Demo(Obj(tuple(sorted(values.items()))), augmented))
    return DemoSet(tuple(out))


def _joint(part: Part, demo: Demo) -> dict[str, Any]:
    return {str(part.names[n]): v for n, v in demo.values.items() if n in part.names}


def _agrees(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    both = one.keys() & other.keys()
    return bool(both) and all(one[n] == other[n] for n in both)


__all__ = ["joint_demos", "joint_instruction", "joint_signature", "renamed"]
