"""Decode steps of a few sizes, recorded once as CUDA graphs and replayed.

A decode step of a small model is hundreds of launches, each of which costs the host more than the device. Recorded, a
step is one launch: what changes from step to step (ids, positions, slots, the work table) is copied into memory that
stays where it is. Rows are filled up to the next of `SIZES`, tables to powers of two; a table that outgrows its room
has its step recorded anew, so that steps are recorded a few times and replayed from then on. Kernels are the same
either way, and so are the bits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from lampc.backend.kernels.paged import Attending, Tables, TritonAttention
from lampc.backend.kernels.shape import Tiling
from lampc.backend.kernels.worktable import WORK, WorkTable
from lampc.backend.lanes import Lanes
from lampc.backend.models.layers import Attend
from lampc.backend.staging import fill

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Rows of recorded steps; larger steps are launched kernel by kernel, which costs little beside their work."""

Out = TypeVar("Out")
Forward = Callable[[torch.Tensor, torch.Tensor, Attend, torch.Tensor], Out]
"""(ids [M], positions [M], attention, rows [n]) -> what the step gives; as the methods of models."""

Ids = Callable[[torch.Tensor], None]

_ALIGN = 4  # int32 values of 16 bytes


@dataclass(frozen=True, slots=True)
class Room:
    """How many entries the arrays of a table have: rows of work for each tile, members, slots, merged, places."""

    work: tuple[int, ...]
    members: int
    slots: int
    merged: int
    places: int

    @classmethod
    def of(cls, table: WorkTable, tiling: Tiling) -> "Room":
        """What a table needs, up to powers of two."""
        rows = {launch.tile: len(launch.work) for launch in table.launches}
        work = tuple(_power(rows.get(tile, 0)) for tile in tiling.tiles)
        members, slots, merged = (_power(len(array)) for array in (table.members, table.slots, table.merged))
        return cls(work, members, slots, merged, _power(table.places))

    def joined(self, other: "Room") -> "Room":
        """The least that holds what either does."""
        work = tuple(map(max, self.work, other.work))
        return Room(
            work,
            max(self.members, other.members),
            max(self.slots, other.slots),
            max(self.merged, other.merged),
            max(self.places, other.places),
        )


class DecodeGraphs:
    """Steps of one model in which every row is a request's newest token. `attention` is that of the engine's cache.

    How many were recorded is counted in `recorded`; `last` is the one that ran last, and may be replayed to be timed.
    Without a GPU nothing is recorded: a replay computes the step again, over the same memory.
    """

    def __init__(self, attention: TritonAttention) -> None:
        self._attention = attention
        self._steps: dict[tuple[str, int], Step] = {}
        self.recorded = 0
        self.last: Step | None = None
        self.device = attention.cache.device

    def run(self, name: str, forward: Forward[Out], lanes: Lanes, ids: Ids | None = None) -> Out | None:
        """What `forward` gives for the lanes, all their rows wanted, and after them rows of padding; None if there
        are too many. It is overwritten by the next step; `name` stands for `forward`. `ids` is called with those of
        the rows, on the device, and may change them.

        A step that still computes is none of its concern: all is done in the order of the stream, and what is copied
        to the device comes from host memory that nobody else writes to before it is there."""
        rows = len(lanes.jobs)
        size = next((size for size in SIZES if size >= rows), None)
        if size is None:
            return None
        lanes.make_room(size)
        attention = self._attention
        tables = [attention.plan(lanes.spans, size, window) for window in dict.fromkeys(attention.windows)]
        rooms = [Room.of(table, attention.tiling) for table in tables]
        step = self._steps.get((name, size))
        if step is None or any(held.joined(room) != held for held, room in zip(step.rooms, rooms, strict=True)):
            if step is not None:
                rooms = [held.joined(room) for held, room in zip(step.rooms, rooms, strict=True)]
            step = self._steps[name, size] = Step(attention, size, rooms, forward)
            self.recorded += 1
        self.last = step
        out: Out = step.run(lanes, tables, ids)
        return out


class Step:
    """A step of `size` rows, over memory that stays where it is."""

    def __init__(self, attention: TritonAttention, size: int, rooms: Sequence[Room], forward: Forward[Out]) -> None:
        device = attention.cache.device
        self.rooms = rooms
        self._trash = attention.cache.trash
        width = max(2, size)  # rows begin at multiples of 16 bytes
        self._inputs = torch.zeros(3, width, dtype=torch.int64, device=device)
        self._inputs[2] = self._trash
        self._size = size
        windows = list(dict.fromkeys(attention.windows))
        self._tables = [_Static(attention, size, room, w or 0) for room, w in zip(rooms, windows, strict=True)]
        by_window = dict(zip(windows, (one.tables for one in self._tables), strict=True))
        ids, positions, slots = self._inputs[:, :size]
        attend = Attending(attention, [by_window[window] for window in attention.windows], slots)
        wanted = torch.arange(size, device=device)
        self.replay = _record(lambda: forward(ids, positions, attend, wanted), device)

    def run(self, lanes: Lanes, tables: Sequence[WorkTable], ids: Ids | None) -> Any:
        """Copies what changed to the device, and replays."""
        host = np.full(self._inputs.shape, self._trash)
        host[:, : self._size] = lanes.memory[:, : self._size]
        host[2][host[2] < 0] = self._trash
        fill(self._inputs, host)
        if ids is not None:
            ids(self._inputs[0])
        for static, table in zip(self._tables, tables, strict=True):
            static.fill(table)
        return self.replay()


class _Static:
    """A work table with room to spare. Entries of zeros are passed over by the kernels."""

    def __init__(self, attention: TritonAttention, rows: int, room: Room, window: int) -> None:
        device = attention.cache.device
        shapes = [*((count, WORK) for count in room.work), (room.members, 2), (rows,), (room.slots,), (room.merged, 3)]
        sizes = [int(np.prod(shape)) for shape in shapes]
        starts = np.cumsum([0, *(-(-size // _ALIGN) * _ALIGN for size in sizes)]).tolist()
        self._device = torch.zeros(starts[-1], dtype=torch.int32, device=device)
        self._starts = starts
        parts = [self._device[at : at + size].view(shape) for at, size, shape in zip(starts, sizes, shapes)]
        self._tiles = attention.tiling.tiles
        launches = [(tile, work) for tile, work in zip(self._tiles, parts) if len(work)]
        members, positions, slots, merged = parts[len(self._tiles) :]
        # Rows of padding are anywhere behind the lanes: all of the result is zero before it is written.
        self.tables = Tables(launches, members, positions, slots, merged, window, 0, *attention.places(room.places))

    def fill(self, table: WorkTable) -> None:
        """Makes it this table, which it has room for."""
        whole = np.zeros(len(self._device), np.int32)
        work = {launch.tile: launch.work for launch in table.launches}
        arrays = [*(work.get(tile) for tile in self._tiles), table.members, table.positions, table.slots, table.merged]
        for start, array in zip(self._starts, arrays):
            if array is not None:
                whole[start : start + array.size] = array.ravel()
        fill(self._device, whole)


def _record(step: Callable[[], Out], device: torch.device) -> Callable[[], Out]:
    if device.type != "cuda":
        return step
    # What is made on first use (kernels, verdicts on products, workspaces) cannot be made while recording.
    aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(2):
            step()
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = step()
    return _Replay(graph, step, out)


@dataclass(frozen=True, slots=True)
class _Replay(Generic[Out]):
    """Of a recorded step, which is kept: the graph reads what it closes over, and keeps none of that alive."""

    graph: torch.cuda.CUDAGraph
    step: Callable[[], Out]
    out: Out

    def __call__(self) -> Out:
        self.graph.replay()
        return self.out


def _power(count: int) -> int:
    return 1 << (count - 1).bit_length() if count else 0
