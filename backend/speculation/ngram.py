"""Guesses by what stood after the same tokens before."""

from collections.abc import Sequence


class NgramIndex:
    """Where in a growing sequence each run of `most` and of `least` tokens stood last. About 200 bytes a token."""

    __slots__ = ("_places", "_sizes", "_upto")

    def __init__(self, least: int, most: int) -> None:
        self._sizes = tuple(dict.fromkeys((most, least)))
        self._places: list[dict[tuple[int, ...], int]] = [{} for _ in self._sizes]
        self._upto = 0  # runs that end before this place are in

    def propose(self, ids: Sequence[int], count: int) -> list[int]:
        """At most `count` tokens that may follow `ids`, which begin with what they were in earlier calls.

        They are those after the last place where the longer run stood that `ids` end with, or else the shorter; beyond
        the end of `ids` they go on with themselves, so that what repeats is guessed to repeat. Costs O(new ids).
        """
        end = len(ids)
        for size, places in zip(self._sizes, self._places, strict=True):
            for at in range(max(self._upto, size), end):
                places[tuple(ids[at - size : at])] = at
        self._upto = end
        for size, places in zip(self._sizes, self._places, strict=True):
            place = places.get(tuple(ids[end - size :])) if end >= size else None
            if place is not None:
                found = list(ids[place : place + count])
                while len(found) < count:
                    found.append(found[place - end])
                return found
        return []
