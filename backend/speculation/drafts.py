"""Guessed tokens of a request in a step: rows of their own, slots outside of the tree until they are known."""

from dataclasses import dataclass, field

from lampc.backend.job import Drawn, Job
from lampc.backend.lanes import Lanes
from lampc.backend.radix import RadixTree


@dataclass(slots=True)
class Draft:
    """Guesses `tokens` for positions `start`, `start + 1`, ... of a job that computes position `start - 1` in the step.

    They have the step's rows from `row` on. The first `room` of them use slots behind the newest token's in its block,
    which are the job's to fill anyway; the others those of a block that begins with slot `claimed`. Whoever computes
    the step notes in `found` what is drawn after the token that the job draws, as long as the guesses before are right.
    `right` is how many were, once the step is over.
    """

    job: Job
    start: int
    tokens: list[int]
    row: int
    room: int
    claimed: int | None = None
    found: list[Drawn | int] = field(default_factory=list)
    right: int = 0

    @property
    def slots(self) -> list[int]:
        """Of the guesses."""
        found: list[int] = self.job.slots[self.start : self.start + len(self.tokens)].tolist()
        return found


def make_draft(job: Job, tokens: list[int], row: int, lanes: Lanes, tree: RadixTree, spare: int) -> Draft | None:
    """A draft for a job among the lanes, as far as there are slots; a new block is taken if more than `spare` are free.
    None if somebody else goes through the job's leaf, or there are no slots."""
    cursor, lane = job.cursor, job.lane
    assert cursor is not None
    assert lane is not None
    node, size = cursor.node, tree.pool.block_size
    if node.locks > 1 or node.children:
        return None
    at, slot = lanes.memory[1:, lane.at].tolist()
    room, claimed = size - 1 - slot % size, None
    if len(tokens) > room and tree.pool.free > spare:
        claimed = tree.pool.append(slot + room)
        if claimed is not None:
            job.add_slots(at + 1 + room, range(claimed, claimed + size))
            lanes.follow_path(job)
    tokens = tokens[: room + (size if claimed is not None else 0)]
    return Draft(job, at + 1, tokens, row, room, claimed) if tokens else None


def drop_draft(draft: Draft, tree: RadixTree) -> None:
    """Gives back what it took."""
    if draft.claimed is not None:
        tree.pool.release([draft.claimed])
        draft.claimed = None


def keep_draft(draft: Draft, lanes: Lanes, tree: RadixTree) -> None:
    """The job knows its tokens of the step: K/V of the guesses among them, but not of the newest, come into the tree,
    all else is given back."""
    job = draft.job
    lanes.leave(job)
    cursor, start = job.cursor, draft.start
    assert cursor is not None
    assert cursor.length == start
    known = job.ids[start : start + len(draft.tokens)]
    pairs = enumerate(zip(known, draft.tokens, strict=False))
    draft.right = next((i for i, (mine, guess) in pairs if mine != guess), len(known))
    right = min(draft.right, len(job.ids) - 1 - start)
    inside = min(right, draft.room)
    tree.append_run(cursor, known[:inside])
    if right > inside:
        assert draft.claimed is not None
        tree.append(cursor, known[inside], draft.claimed)
        draft.claimed = None
        tree.append_run(cursor, known[inside + 1 : right])
    drop_draft(draft, tree)
    job.fast = cursor.length == job.next_logits == len(job.ids) - 1
