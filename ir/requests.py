"""`prompt.*`: which text is sent and what is read back."""

from __future__ import annotations

from lampc.ir.attrs import Symbol
from lampc.ir.content import Key, Sampling, Signature
from lampc.ir.core import Op
from lampc.ir.define import Operand, Operands, Result, op
from lampc.ir.effects import Trait
from lampc.ir.prompt import Prompt
from lampc.ir.types import STR, Type


@op("prompt.request", traits=[Trait.SAMPLES])
class RequestOp(Op):
    """Send a prompt whose `Input` slots are the operands; gives the text that the model writes."""

    predictor: Symbol
    prompt: Prompt
    sampling: Sampling = Sampling()
    key: Key
    inputs: Operands
    text: Result

    def infer(self) -> tuple[Type, ...]:
        return (STR,)

    def check(self) -> list[str]:
        slots = {s.index for s in self.prompt.inputs()}
        return [f"slot {i} has no operand" for i in sorted(slots) if i >= len(self.inputs)]


@op("prompt.follow", traits=[Trait.SAMPLES])
class Follow(RequestOp):
    """Go on with the conversation of an earlier request: what was sent there, the text `after` that the model wrote,
    and the turns of this prompt."""

    predictor: Symbol
    prompt: Prompt
    sampling: Sampling = Sampling()
    key: Key
    after: Operand
    inputs: Operands
    text: Result


def followed(op: RequestOp) -> bool:
    """Whether another request goes on with the conversation of this one."""
    return any(isinstance(u, Follow) and u.after is op.text for u in op.text.users)


@op("prompt.parse", traits=[Trait.PURE])
class Parse(Op):
    """Read the outputs of a signature back from text, by the adapter's parser. Fails the row if it cannot.

    Operands after the text are the inputs of the call, in the signature's order: a run's trace, from which
    demos are made, needs them beside the outputs.
    """

    predictor: Symbol
    signature: Signature
    layout: str
    text: Operand
    inputs: Operands
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (self.signature.record(),)
