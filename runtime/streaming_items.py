"""Items of a list out of an answer that is still being written: those that nothing which follows can change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lampc.runtime.streaming_fields import FieldPieces

_DECODER = json.JSONDecoder(strict=False)


class ItemPieces:
    """Takes an answer piece by piece; gives the items of one output, which is a list, as they become sure.

    Lists are JSON, or lines that begin with `- `. Raises ValueError for a layout without marks.
    """

    def __init__(self, layout: str, field: str, outputs: Sequence[str]) -> None:
        self._pieces = FieldPieces(layout, field, outputs)
        self._value = ""
        self._given = 0

    def push(self, piece: str) -> list[Any]:
        """Items that are sure now and were not before."""
        if self._pieces.done:
            return []
        if not any(c in piece for c in ",]\n"):  # nothing ends
            self._pieces.text += piece
            return []
        self._value += self._pieces.push(piece)
        items = sure_items(self._value, self._pieces.done)
        fresh, self._given = items[self._given :], max(self._given, len(items))
        return fresh


def sure_items(value: str, ended: bool) -> list[Any]:
    """The items that the beginning of a list's text has for sure; `ended` says that it is all of it."""
    if value.startswith("["):
        return _of_json(value)
    lines = value.split("\n")
    whole = lines if ended else lines[:-1]
    items: list[Any] = []
    for line in whole:
        if not line.startswith("- "):
            break
        items.append(line[2:].strip())
    return items


def _of_json(value: str) -> list[Any]:
    items: list[Any] = []
    at = 1
    while True:
        while at < len(value) and value[at] in " \n\t\r":
            at += 1
        try:
            item, at = _DECODER.raw_decode(value, at)
        except ValueError:
            return items
        while at < len(value) and value[at] in " \n\t\r":
            at += 1
        if at == len(value) or value[at] not in ",]":  # a number may go on
            return items
        items.append(item)
        if value[at] == "]":
            return items
        at += 1
