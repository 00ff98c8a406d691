"""What is trained on: prompts and the answers wanted, in batches whose order follows from the seed alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Pair:
    """Ids of a prompt and of the answer wanted, the id that ends it included. The loss is on the answer alone."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.prompt or not self.answer:
            raise ValueError(f"a pair has {len(self.prompt)} ids of a prompt and {len(self.answer)} of an answer")

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def batch_at(pairs: Sequence[Pair], size: int, step: int, seed: int) -> list[Pair]:
    """The batch of a step, counted from 0: every epoch shuffles anew, its last batch may be smaller."""
    per_epoch = -(-len(pairs) // size)
    epoch, place = divmod(step, per_epoch)
    order = list(range(len(pairs)))
    Random(f"{seed} {epoch}").shuffle(order)
    return [pairs[i] for i in order[place * size : (place + 1) * size]]
