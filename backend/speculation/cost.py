"""What a row of a draft costs over what a token that it saves is worth, from the times of an engine's steps."""

_LESS, _MORE = 0.3, 0.1
"""Of a new time in a running mean, if it is less or more: what else a machine does adds to times and never takes from
them."""
_FIRST = 0.3
"""The ratio before anything was measured."""
_AFRESH = 64
"""Steps with drafts after which one without is made, since contexts grow and so do steps."""


class Cost:
    """Running means of the seconds of steps without drafts, by the number of requests that decode, and of the seconds
    that a row of a draft adds. Steps that compute prompts are not looked at."""

    def __init__(self) -> None:
        self._plain: dict[int, float] = {}
        self._row: float | None = None
        self._since = 0

    def observe(self, requests: int, drafted: int, seconds: float) -> None:
        """A step took so long, from its schedule to that of the next one."""
        plain = self._plain.get(requests)
        if not drafted:
            self._since = 0
            self._plain[requests] = _mean(plain, seconds)
        elif plain is not None:
            row = max(1e-9, (seconds - plain) / drafted)
            self._row = min(row, plain / requests) if self._row is None else _mean(self._row, row)

    def due(self, requests: int) -> bool:
        """Whether a step is to be made without drafts, to know what that takes."""
        self._since += 1
        return requests not in self._plain or self._since > _AFRESH

    def ratio(self, requests: int) -> float:
        """A token is worth its share of a step without drafts."""
        plain = self._plain.get(requests)
        return _FIRST if plain is None or self._row is None else self._row * requests / plain


def _mean(before: float | None, seconds: float) -> float:
    if before is None:
        return seconds
    return before + (_LESS if seconds < before else _MORE) * (min(seconds, 2.0 * before) - before)
