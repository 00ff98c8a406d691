"""`layout`: the order in which the blocks of a signature's prompts stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from lampc.frontend.python.signature import SignatureMeta
from lampc.ir.adapters.arranged import complete, layout_in, own_blocks

if TYPE_CHECKING:
    from lampc.ir import Signature as IRSignature

S = TypeVar("S", bound=type)


def layout(*blocks: str, frozen: bool = False) -> Callable[[S], S]:
    """Ask for an order of the blocks of a prompt: `instruction`, `demos`, and the inputs by name.

        @lampc.layout("context", "instruction", "question")
        class Answer(lampc.Signature): ...

    What stands before `demos` is the system's message, what stands behind them the user's; blocks that are not named
    stand in front (instruction, demos) or behind (inputs). Predictors of the signature, and of what is made of it,
    write their prompts so. `lampc layout` may find a better order, unless `frozen`. Raises TypeError for what is no
    signature, ValueError for an order that its prompts cannot have.
    """

    def decorate(signature: S) -> S:
        if not isinstance(signature, SignatureMeta):
            raise TypeError(f"layout orders the prompts of a signature class, not {signature!r}")
        made = signature.ir()
        layout_in("compact", complete(blocks, made), made)
        type.__setattr__(signature, "__layout__", (blocks, frozen))
        return signature

    return decorate


def asked_order(signature: Any) -> tuple[tuple[str, ...], bool]:
    """The order that a signature class asks for, () for none, and whether it stays."""
    found: tuple[tuple[str, ...], bool] = getattr(signature, "__layout__", ((), False))
    return found


def in_asked_order(layout: str, blocks: tuple[str, ...], signature: IRSignature) -> str:
    """The layout in an order asked for; blocks that the signature does not have any more are passed over."""
    if "[" in layout or ":" in layout:  # an order or a template of its own
        return layout
    own = own_blocks(signature)
    return layout_in(layout, complete([b for b in blocks if b in own], signature), signature)
