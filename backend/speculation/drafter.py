"""Which requests of a step have tokens guessed, and how many."""

from collections.abc import Callable, Sequence

from lampc.backend.job import Job
from lampc.backend.lanes import Lanes
from lampc.backend.plan import Chunk, Plan
from lampc.backend.radix import RadixTree
from lampc.backend.speculation.cost import Cost
from lampc.backend.speculation.drafts import Draft, make_draft
from lampc.backend.speculation.guess import Guess
from lampc.backend.speculation.ngram import NgramIndex
from lampc.backend.speculation.options import Speculation


class Drafter:
    """Adds drafts to steps. `spare` blocks are left free, so that nobody waits for what may be given back."""

    def __init__(self, options: Speculation, tree: RadixTree, clock: Callable[[], float]) -> None:
        self.drafted = self.accepted = 0  # tokens
        self._options = options
        self._tree = tree
        self._clock = clock
        self._cost = Cost()
        self._step = 0
        self._jobs: list[Job] = []  # who decoded in the last step
        self._awake: list[Job] = []  # and of these whoever may be guessed for
        self._asleep: dict[int, list[Job]] = {}  # by the step at which they may wake
        self._changed: list[Job] = []  # fell asleep in the last step
        self._last: tuple[list[Job], int, float] | None = None  # who decoded in it, guessed tokens, when it began

    def begin(self, job: Job) -> None:
        """A request was queued."""
        if not job.request.score:
            job.guess = Guess(NgramIndex(self._options.prompt_lookup_min, self._options.prompt_lookup_max))

    def stir(self, lanes: Lanes) -> None:
        """A step is about to be planned: those that wake or fell asleep leave their lanes, and come back as what they
        are now, since only those awake need to hear of every token."""
        self._step += 1
        for job in self._asleep.pop(self._step, ()):
            if job.handle.completion is None and job.guess is not None:
                lanes.tell((job,))
                if job.guess.wakes(job.ids):
                    lanes.leave(job)
                else:
                    self._asleep.setdefault(job.guess.sleep(self._step), []).append(job)
        if self._changed:
            for job in self._changed:
                lanes.leave(job)
            self._changed = []

    def draft(self, plan: Plan, budget: int, spare: int) -> None:
        """Adds drafts to a step that is planned but for that, as far as `budget` rows go."""
        jobs, adaptive, pure = plan.decoding, self._options.adaptive, not plan.other_chunks
        if jobs is not self._jobs:  # never changed in place, and whoever wakes or falls asleep leaves
            self._jobs, self._awake = jobs, [job for job in jobs if job.guess is not None and job.guess.awake]
        if not self._awake:
            self._last = None
            return
        self._observe()
        if not (adaptive and pure and self._cost.due(len(jobs))):
            ratio = self._cost.ratio(len(jobs)) if adaptive else 0.0
            for job in self._awake:
                left = job.output.limit - len(job.output.tokens) - 1
                most = min(self._options.num_speculative_tokens, left, budget - plan.rows)
                if most > 0:
                    self._guess(job, plan, ratio, most, spare)
        if pure:
            self._last = jobs, sum(len(draft.tokens) for draft in plan.drafts), self._clock()

    def took(self, drafts: Sequence[Draft]) -> None:
        """A step is over."""
        for draft in drafts:
            self.drafted += len(draft.tokens)
            self.accepted += draft.right
            if draft.job.guess is not None:
                draft.job.guess.heard(draft.right, len(draft.tokens))

    def _observe(self) -> None:
        if self._last is not None:
            jobs, drafted, began = self._last
            self._last = None
            if any(job.cursor is not None for job in jobs):  # else nobody may have called `step` for some time
                self._cost.observe(len(jobs), drafted, self._clock() - began)

    def _guess(self, job: Job, plan: Plan, ratio: float, most: int, spare: int) -> None:
        guess = job.guess
        assert guess is not None
        count = guess.length(ratio, most)
        tokens = _possible(job, guess.index.propose(job.ids, count)) if count else []
        draft = make_draft(job, tokens, plan.rows, plan.lanes, self._tree, spare) if tokens else None
        if draft is not None:
            plan.drafts.append(draft)
            end = draft.start + len(draft.tokens)
            plan.other_chunks.append(Chunk(job, draft.start, end, draft.start, draft.slots, draft.tokens))
            plan.rows += len(draft.tokens)
        elif self._options.adaptive and (not count or guess.nothing()):
            self._asleep.setdefault(guess.sleep(self._step, not count), []).append(job)
            self._changed.append(job)


def _possible(job: Job, tokens: list[int]) -> list[int]:
    """Guesses up to the first that would end the output, or that the grammar does not take."""
    ends = job.output.stop_ids
    count = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    if job.matcher is not None and count:
        count = job.matcher.accepts(tokens[:count])
    return tokens[:count]
