"""The first rank's side of a tensor-parallel engine: it tells the others what to do, does its share, draws tokens."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from lampc.backend.job import Drawn
from lampc.backend.parallel.errors import RankFailed
from lampc.backend.parallel.join import Control
from lampc.backend.parallel.launch import Ranks
from lampc.backend.parallel.share import Share
from lampc.backend.parallel.step import Writer, read
from lampc.backend.plan import Plan
from lampc.backend.reads import Read
from lampc.backend.sampler import drawn, resolve


class ParallelRunner:
    """See `lampc.backend.plan.Runner`. `failure` says what ended it, once something has.

    `control` is None where there is one rank; `ranks` is None where somebody else started them. A step either happens
    on all ranks or is the last one: whatever is raised in the middle of it ends the ranks.
    """

    def __init__(self, share: Share, control: Control | None, ranks: Ranks | None) -> None:
        self.share = share
        self.ranks = ranks
        self.failure: str | None = None
        self._control = control
        self._writer = Writer()

    def execute(self, plan: Plan) -> Sequence[Drawn | int]:
        """One step. Raises RankFailed, now and ever after, if a rank has failed."""
        self.check()
        with _uninterrupted():
            try:
                step, requests = read(plan, self.share.padded(plan.rows))
                if self._control is not None:
                    self._control.send(self._writer.write(step, requests))
                likeliest = self.share.likeliest(step) if step.plain else None
                logits = None if step.plain else self.share.run(step)
            except BaseException as error:
                self.failure = self.ranks.explain(error) if self.ranks is not None else str(error)
                raise RankFailed(self.failure) from error
        if likeliest is not None:
            ids, tops = likeliest
            return drawn(ids.tolist(), tops.tolist())
        assert logits is not None
        return resolve(plan.wants, logits.cpu().numpy(), self.share.kernel)

    def reads(self, plan: Plan) -> list[Read]:
        """What the first rank reads for a plan; see `lampc.backend.reads`."""
        return self.share.reads(read(plan, plan.rows)[0])

    def check(self) -> None:
        """Raises RankFailed if a rank has failed, also between steps."""
        if self.failure is None and self.ranks is not None:
            self.failure = self.ranks.failure
        if self.failure is not None:
            raise RankFailed(self.failure)

    def close(self) -> None:
        """Ends the other ranks. Twice is fine."""
        control, self._control = self._control, None
        if control is not None:
            self.share.end()
        if control is not None and self.failure is None:
            with contextlib.suppress(RankFailed):
                control.stop()
        if self.ranks is not None:
            self.ranks.close()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C comes after the step: in the middle of it, it would leave ranks waiting for each other."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: noted.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if noted and callable(before):
            before(*noted[0])
