"""What runners and samplers see of whoever draws in a step: of a job, or of a place behind one."""

from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from lampc.backend.grammar.matcher import Words
from lampc.backend.output import Output
from lampc.backend.request import Handle, Request
from lampc.backend.shaping import Shaper

if TYPE_CHECKING:
    from lampc.backend.job import Job


class Grammar(Protocol):
    """What a step asks of a grammar, see `lampc.backend.grammar.matcher.Matcher`."""

    def offer(self, token: int) -> bool:
        """Whether a token may be drawn."""
        ...

    def begin(self, filled: "Future[None]") -> None:
        """Somebody is about to call `fill`, and `filled` says when that is done."""
        ...

    def fill(self) -> None:
        """Computes the next mask."""
        ...

    def wait(self) -> None:
        """Until nobody computes with it any more."""
        ...


class Drawing(Protocol):
    """See `lampc.backend.job.Job`, whose names these are, and `lampc.backend.branches.Branch`."""

    ids: list[int]
    slots: NDArray[np.int64]
    slots_at: int

    @property
    def owner(self) -> "Job":
        """The job itself, or the one that this place is behind."""
        ...

    @property
    def handle(self) -> Handle:
        """Of the job."""
        ...

    @property
    def request(self) -> Request:
        """Of the job."""
        ...

    @property
    def output(self) -> Output:
        """Of the job."""
        ...

    @property
    def prompt_len(self) -> int:
        """Of the job."""
        ...

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token that the grammar takes is all that is wanted."""
        ...

    @property
    def matcher(self) -> Grammar | None:
        """What may follow here."""
        ...

    @property
    def shaper(self) -> Shaper | None:
        """What changes logits here."""
        ...

    @property
    def follow(self) -> tuple[int, ...]:
        """Tokens whose logprobs are wanted."""
        ...

    @property
    def wants_logprobs(self) -> bool:
        """Whether any are."""
        ...

    @property
    def draws(self) -> bool:
        """Whether a token is drawn here."""
        ...

    def mask(self) -> Words | None:
        """Which ids may be drawn, see `Matcher.mask`; None if all may."""
        ...
