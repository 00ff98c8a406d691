"""A grammar at one place in one answer."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from lampc.backend.errors import BackendError
from lampc.backend.grammar.said import said
from lampc.backend.grammar.vocabulary import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher

Words = NDArray[np.int32]
_NONE = -1  # no token
_DEEP, _SEEN = 8, 2
"""How many tokens of an answer are drawn at places that are known, and how many answers come by one before matchers are
kept of it: a copy of a matcher costs the more the further it has come, and texts are hardly ever alike."""


class Stand:
    """A place in answers to a grammar: a matcher that stands there, the tokens that must follow (None: nobody asked),
    the place `behind` them, and those `after` each token that may be drawn where none must follow.

    Answers mostly begin alike, and those of a few labels are all alike: a copy of a matcher costs less than the way
    there.
    """

    __slots__ = ("after", "behind", "forced", "here", "seen")

    def __init__(self, forced: list[int] | None = None) -> None:
        self.after: dict[int, Stand] = {}
        self.here: LLMatcher | None = None
        self.behind: Stand | None = None
        self.forced = forced
        self.seen = 0


class Reading:
    """A grammar that was read: what is at its beginning, whether it `names_tokens` (one of those may be one that ends
    a text), and how many tokens of answers the matchers that are copies of it, or of copies, have gone on with."""

    __slots__ = ("begin", "inner", "names_tokens", "tokens")

    def __init__(self, inner: "LLMatcher", names_tokens: bool) -> None:
        self.inner, self.begin, self.names_tokens, self.tokens = inner, Stand(), names_tokens, 0


class Matcher:
    """What may follow, and what must. Its methods are for one thread, but `fill`, which may run in another one.

    Tokens that must follow are those that the tokenizer itself makes of the text that must: as far as they are certain
    whatever comes after it. The last one or two of such a text are often not, since they could be one with what
    follows; they are left to whoever draws, under a mask that holds that text.

    Copies of a grammar share what they have found out about it, and the limits of that. One that meets such a limit
    begins again with a grammar that nobody else has used (`anew`), so that only what it needs itself counts.
    """

    __slots__ = (
        "_adds",
        "_ahead",
        "_anew",
        "_before",
        "_filled",
        "_inner",
        "_left",
        "_mask",
        "_more",
        "_place",
        "_reading",
        "_special",
        "_stand",
        "_stops",
        "_taken",
        "_vocabulary",
        "failure",
    )

    def __init__(self, reading: Reading, vocabulary: Vocabulary, anew: Callable[[], "LLMatcher"]) -> None:
        self._reading = reading
        self._inner = reading.inner.deep_copy()
        self._stand: Stand | None = reading.begin  # where it is, if that is known
        self._before: Stand | None = None  # where it was before `offer`
        self._left, self._adds = _DEEP, True
        self._vocabulary = vocabulary
        self.stop_at(vocabulary.ends)
        self._anew: Callable[[], LLMatcher] | None = anew
        self._taken: list[int] = []
        self._ahead = _NONE  # it stands after this token, which `take` was not called with yet
        self._more = False  # and has more to say to that
        self._mask: Words = np.zeros(-(-vocabulary.size // 32), np.int32)
        self._place = self._mask.__array_interface__["data"][0], self._mask.nbytes
        self._filled: Future[None] | bool = False
        self.failure = ""  # why it cannot go on

    def stop_at(self, stops: frozenset[int]) -> None:
        """These ids, whatever they spell, may stand where the answer may end, and no others."""
        self._stops = stops
        ends = self._vocabulary.ends
        self._special = ends if stops <= ends else stops | ends  # one set for all where it can be

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens that it is about."""
        return self._vocabulary

    def copy(self) -> "Matcher":
        """Another one at the same place, whose answer ends by what ends a text."""
        self.wait()
        made = Matcher(self._reading, self._vocabulary, self._reading.inner.deep_copy)
        made._inner, made._stand, made._left, made._adds = self._inner.deep_copy(), self._stand, self._left, False
        made._anew = None  # what one meets that looks ahead is no reason to begin again
        return made

    @property
    def ended(self) -> bool:
        """Whether nothing may follow: the answer is whole."""
        return bool(self._inner.is_stopped()) and not self._inner.is_error()

    def offer(self, token: int) -> bool:
        """Whether a token may be drawn here, as its bit in `mask()` says.

        If it may and ends nothing the matcher has gone on with it when this returns, before `take` or `step` is called
        with it: all that a step asks of a grammar is asked at once. `undo` takes that back.
        """
        if token in self._special:
            return allows(self.mask(), token) if self._reading.names_tokens else self._ends_by(token)
        if self._filled:
            self.wait()
        known = None if self._stand is None or not self._left else self._stand.after.get(token)
        if known is not None and known.here is not None:
            self._inner = known.here.deep_copy()
        elif not self._inner.try_consume_tokens([token]) and (
            not self._begun_again() or not self._inner.try_consume_tokens([token])
        ):
            return False
        self._taken.append(token)
        self._ahead, self._filled, self._before = token, False, self._stand
        if self._stand is None:  # as it mostly is
            self._reading.tokens += 1
        else:
            self._stands_at(self._go_on(token))
        forced = self._inner.compute_ff_tokens() if known is None or known.forced is None else known.forced
        self._more = bool(forced) or self._inner.is_stopped()  # which it is after errors, too
        return True

    def _ends_by(self, token: int) -> bool:
        if self._filled:
            self.wait()
        return token in self._stops and bool(self._inner.is_accepting())

    def undo(self) -> None:
        """Takes back what `offer` went on with, if `take` was not called since."""
        if self._ahead != _NONE:
            self._ahead, self._filled = _NONE, False
            self._inner.rollback(1)
            self._taken.pop()
            self._stand = self._before
            self._left += self._before is not None

    def step(self, token: int) -> bool:
        """Goes on with a token that was drawn here and ends nothing: whether that is all. If it is not, since the
        answer is whole then, tokens must follow or something failed, `take` is to be called with the token."""
        if self._ahead != token:
            self.undo()
            if not self.offer(token):
                return False
        if self._more:
            return False
        self._ahead = _NONE
        return True

    def _stands_after(self, token: int) -> bool:
        """Whether `offer` went on with this token; if it was another one, that is taken back."""
        if self._ahead != token:
            self.undo()
        return self._ahead != _NONE

    def accepts(self, tokens: list[int]) -> int:
        """How many of these may stand here, one after the other; nothing is gone on with."""
        if self._filled:
            self.wait()
        return int(self._inner.validate_tokens(tokens))

    def advance(self, token: int, first: bool) -> tuple[list[int] | None, int]:
        """Looks ahead: goes on with a token that may stand here and what it forces, which is given; None if nothing is
        drawn after that, since the answer is whole or something fails. Also gives for how many tokens `retreat` is to
        be called. The `first` token of several `offer` may have gone on with already."""
        if self._filled:
            self.wait()
            self._filled = False
        offered = first and self._stands_after(token)
        inner, self._stand = self._inner, None
        taken = 0 if offered else inner.try_consume_tokens([token])
        if taken:
            self._taken.append(token)
        elif not offered:
            return None, 0
        forced: list[int] = inner.compute_ff_tokens()
        count = inner.try_consume_tokens(forced) if forced else 0
        self._taken += forced[:count]
        return (None if inner.is_stopped() or count < len(forced) else forced), taken + count

    def retreat(self, count: int) -> None:
        """Takes back the last so many tokens of `advance`."""
        if self._filled:
            self.wait()
        self._filled = False
        self._inner.rollback(count)  # one that failed stays as it is, and begins again when it is asked next
        del self._taken[-count:]

    def take(self, token: int) -> bool:
        """Goes on with a token; False if it must not stand here, and then nothing can be done any more."""
        if self._stands_after(token):
            self._ahead = _NONE
            return True
        if self._filled:
            self.wait()
            self._filled = False
        known = self._go_on(token)
        if known is not None and known.here is not None:
            self._inner = known.here.deep_copy()
            self._taken.append(token)
            return True
        taken: bool = self._inner.consume_token(token)
        if not taken and self._begun_again():
            taken = self._inner.consume_token(token)
        self._taken.append(token)
        if not taken:
            self.failure = self._error() or f"token {token} must not stand here"
        elif self._stand is known:
            self._stands_at(known)
        return taken

    def _go_on(self, token: int) -> Stand | None:
        """The place after a token, from now on where it is; None if that is not known."""
        here = self._stand
        if here is None or not self._left:
            self._stand = None
            return None
        self._left -= 1
        known = here.after.get(token)
        if known is None and self._adds:
            known = here.after[token] = Stand()
        self._stand = known
        return known

    def _stands_at(self, known: Stand | None) -> None:
        """It has gone on to there itself: a place where it is not the first is kept."""
        self._reading.tokens += 1
        if known is not None and known.here is None:
            known.seen += 1
            if known.seen > _SEEN:
                known.here = self._inner.deep_copy()

    def forced(self) -> list[int]:
        """The tokens that must follow; it has gone on with them already. `failure` says if there is no end to them."""
        if self._filled:
            self.wait()
            self._filled = False
        known, first = self._stand, not self._taken
        if known is not None and known.forced is not None:
            if known.behind is not None and known.behind.here is not None:
                self._inner, self._stand = known.behind.here.deep_copy(), known.behind
                self._taken += known.forced
            return list(known.forced)
        tokens: list[int] = self._inner.compute_ff_tokens()
        if self._begun_again():
            tokens = self._inner.compute_ff_tokens()
        count = self._inner.try_consume_tokens(tokens) if tokens else 0
        self._taken += tokens[:count]
        self._reading.tokens += count
        for i in range(count, len(tokens)):
            self._stand = None
            if not self.take(tokens[i]):
                return tokens[:i]
        if self._inner.is_error():
            self.failure = self._error()
        elif known is not None and known is self._stand:
            if tokens:
                self._stand = known.behind = known.behind or Stand([])
            if first or known.here is not None:
                known.forced, self._stand.here = list(tokens), self._inner.deep_copy()
        return tokens

    def _begun_again(self) -> bool:
        """Whether it failed, and stands where it stood in a grammar of its own now. At most once."""
        if self._anew is None or not self._inner.is_error():
            return False
        inner, self._anew = self._anew(), None
        for token in self._taken:
            if not inner.consume_token(token):
                return False
        self._inner, self._stand = inner, None
        return True

    def _error(self) -> str:
        return said(str(self._inner.get_error()))

    # -- masks -------------------------------------------------------------------------------------------

    def begin(self, filled: "Future[None]") -> None:
        """Somebody is about to call `fill`, and `filled` says when that is done."""
        self._filled = filled

    def fill(self) -> None:
        """Computes the next mask. Gives other threads of Python their turn meanwhile."""
        self._inner.unsafe_compute_mask_ptr(*self._place)

    def wait(self) -> None:
        """Until nobody computes with it any more."""
        if isinstance(self._filled, Future):
            self._filled.result()
            self._filled = True

    def mask(self, banned: frozenset[int] = frozenset()) -> Words:
        """Bit i % 32 of word i // 32 says whether token i may follow, int32 [ceil(ids / 32)].

        Those of `stop_at` may where the answer may end; `banned` may not, unless nothing else is left.
        Raises BackendError if the grammar is too much work at this place.
        """
        if not self._filled:
            self.fill()
            self._filled = True
        self.wait()
        if self._begun_again():
            self.fill()
        if self._inner.is_error():
            raise BackendError(f"the grammar failed: {self._error()}")
        stops, ends = self._stops, self._vocabulary.ends
        if stops == ends and not banned:  # as llguidance says itself
            return self._mask
        bits = self._mask.view(np.uint32)
        may_end = any(allows(bits, end) for end in ends)
        made = bits.copy()
        for end in ends:
            _set(made, end, False)
        for stop in stops:
            _set(made, stop, may_end)
        for token in banned:
            _set(made, token, False)
        if not made.any():
            if may_end:
                return self._mask
            raise BackendError("the grammar wants a token here that is one of stop_ids; leave it out of these")
        return made.view(np.int32)


Whose = TypeVar("Whose")
Asked = tuple[int, Whose, Matcher]
"""Which token is a matcher's, whose it is, and that."""


def refusing(asked: Iterable[Asked[Whose]], tokens: Sequence[int]) -> list[Asked[Whose]]:
    """Those who refuse their token when it is offered, see `Matcher.offer`, which this does at its shortest."""
    refused = []
    for one in asked:
        i, _, matcher = one
        token = tokens[i]
        if matcher._stand is None and token not in matcher._special and not matcher._filled:
            inner = matcher._inner
            if inner.try_consume_tokens([token]):
                matcher._more = True if inner.compute_ff_tokens() else inner.is_stopped()
                matcher._taken.append(token)
                matcher._ahead, matcher._before = token, None
                matcher._reading.tokens += 1
                continue
            if not inner.is_error():
                refused.append(one)
                continue
        if not matcher.offer(token):
            refused.append(one)
    return refused


def heard(asked: Iterable[Asked[Whose]], tokens: Sequence[int]) -> list[Asked[Whose]]:
    """Those whose matchers have more to say to their token, see `Matcher.step`, which this does at its shortest."""
    found = []
    for one in asked:
        i, _, matcher = one
        if matcher._ahead == tokens[i] and not matcher._more:
            matcher._ahead = _NONE
        elif not matcher.step(tokens[i]):
            found.append(one)
    return found


def allows(mask: NDArray[np.int32] | NDArray[np.uint32], token: int) -> bool:
    """Whether a mask allows an id; none beyond its end."""
    return token >> 5 < len(mask) and bool(int(mask[token >> 5]) >> (token & 31) & 1)


def _set(bits: NDArray[np.uint32], token: int, on: bool) -> None:
    word, bit = token >> 5, 1 << (token & 31)
    if word < len(bits):
        bits[word] = int(bits[word]) | bit if on else int(bits[word]) & ~bit & 0xFFFFFFFF
