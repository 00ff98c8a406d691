"""Guesses by what stood after the same tokens before."""

from array import array
from collections.abc import Sequence


class NgramIndex:
    """Where in a growing sequence each run of `most` and of `least` tokens stood last. About 200 bytes a token.

    Runs are kept as bytes, which Python's collector does not look at.
    """

    __slots__ = ("_places", "_sizes", "upto")

    def __init__(self, least: int, most: int) -> None:
        self._sizes = tuple(dict.fromkeys((most, least)))
        self._places: list[dict[bytes, int]] = [{} for _ in self._sizes]
        self.upto = 0  # runs that end before this place are in

    def propose(self, ids: Sequence[int], count: int) -> list[int]:
        """At most `count` tokens that may follow `ids`, which begin with what they were in earlier calls.

        They are those after the last place where the longer run stood that `ids` end with, or else the shorter; beyond
        the end of `ids` they go on with themselves, so that what repeats is guessed to repeat. Costs O(new ids).
        """
        end = len(ids)
        for size, places in zip(self._sizes, self._places, strict=True):
            first = max(self.upto, size)
            if first < end:
                text, width = _bytes(ids[first - size : end - 1]), _EACH * size
                runs = [text[at : at + width] for at in range(0, _EACH * (end - first), _EACH)]
                places.update(zip(runs, range(first, end), strict=True))
        self.upto = end
        for size, places in zip(self._sizes, self._places, strict=True):
            place = places.get(_bytes(ids[end - size :])) if end >= size else None
            if place is not None:
                found = list(ids[place : place + count])
                while len(found) < count:
                    found.append(found[place - end])
                return found
        return []

    def replay(self, ids: Sequence[int]) -> tuple[int, int]:
        """Of how many of the ids that are new there would have been a guess, and of how many the right one."""
        tried = right = 0
        for at in range(self.upto, len(ids)):
            place = None
            for size, places in zip(self._sizes, self._places, strict=True):
                if at >= size:
                    run = _bytes(ids[at - size : at])
                    place = places.get(run) if place is None else place
                    places[run] = at
            if place is not None:
                tried += 1
                right += ids[place] == ids[at]
        self.upto = len(ids)
        return tried, right


_EACH = array("i").itemsize


def _bytes(ids: Sequence[int]) -> bytes:
    return array("i", ids).tobytes()
