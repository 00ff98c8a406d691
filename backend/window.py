"""Sums over the last seconds, in slots of time: constant memory and constant cost however fast steps come."""

SLOTS = 20


class Window:
    """`fields` running sums over the last `seconds` before whatever moment is asked about.

    The window moves by slots of a twentieth: what is read covers between 19/20 and all of `seconds`, or the
    time since `start` if that is less. Times are seconds on one clock and never go back.
    """

    __slots__ = ("_fields", "_numbers", "_rows", "_slot", "_start", "seconds")

    def __init__(self, fields: int, seconds: float, start: float) -> None:
        self.seconds = seconds
        self._fields = fields
        self._slot = seconds / SLOTS
        self._start = start
        self._numbers = [-1] * SLOTS
        self._rows = [[0.0] * fields for _ in range(SLOTS)]

    def at(self, now: float) -> list[float]:
        """The sums of the slot that `now` is in, to be added to in place."""
        return self._row(int(now / self._slot))

    def spread(self, field: int, start: float, end: float) -> None:
        """Adds the seconds of [start, end] to the slots that they are in."""
        newest = int(end / self._slot)
        for number in range(max(int(start / self._slot), newest - SLOTS + 1), newest + 1):
            low, high = max(start, number * self._slot), min(end, (number + 1) * self._slot)
            self._row(number)[field] += max(0.0, high - low)

    def read(self, now: float) -> tuple[list[float], float]:
        """The sums over the window that ends at `now`, and the seconds that it covers."""
        newest = int(now / self._slot)
        sums = [0.0] * self._fields
        for number, row in zip(self._numbers, self._rows, strict=True):
            if newest - SLOTS < number <= newest:
                sums = [a + b for a, b in zip(sums, row, strict=True)]
        return sums, max(0.0, now - max(self._start, (newest - SLOTS + 1) * self._slot))

    def _row(self, number: int) -> list[float]:
        at = number % SLOTS
        if self._numbers[at] != number:
            self._numbers[at] = number
            self._rows[at] = [0.0] * self._fields
        return self._rows[at]
