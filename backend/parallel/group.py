"""What ranks say to each other while they compute: sums in one fixed tree, and logits to the first rank.

Every byte is counted where it is sent.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch.nn.functional import pad

from lampc.backend.parallel.errors import RankFailed
from lampc.backend.parallel.shards import tree
from lampc.backend.parallel.topology import Topology, Way, choose
from lampc.backend.parallel.trace import Trace

T = TypeVar("T")
Later = Callable[[], torch.Tensor]
"""Waits for a tensor that is under way."""


class Work(Protocol):
    """An exchange that was begun."""

    def wait(self) -> object:
        """Raises RuntimeError if it failed, or took too long."""
        ...


class Channel(Protocol):
    """What is used of a process group of torch, whose stubs leave these methods out."""

    def size(self) -> int: ...
    def broadcast(self, tensor: torch.Tensor, root: int) -> Work: ...
    def send(self, tensors: list[torch.Tensor], to: int, tag: int) -> Work: ...
    def recv(self, tensors: list[torch.Tensor], source: int, tag: int) -> Work: ...
    def _allgather_base(self, out: torch.Tensor, x: torch.Tensor) -> Work: ...
    def alltoall_base(self, out: torch.Tensor, x: torch.Tensor, outs: list[int], ins: list[int]) -> Work: ...


class Group:
    """The ranks of an engine, seen from one of them; alone, nothing is sent.

    `world` connects all ranks; `inner` those of this node and `outer` those with this one's place in each node, where
    there are several nodes that can sum in a hierarchy. `sent` are bytes so far, `waited_s` the seconds in which
    nothing was computed because of them.
    Methods raise RankFailed if another rank cannot be reached, or does not answer in time.
    """

    def __init__(
        self,
        rank: int = 0,
        topology: Topology | None = None,
        world: Channel | None = None,
        inner: Channel | None = None,
        outer: Channel | None = None,
    ) -> None:
        self.rank = rank
        self.topology = topology or Topology((0,))
        self.ranks = len(self.topology.nodes)
        self.sent = 0
        self.waited_s = 0.0
        self.ways: dict[Way, int] = {}
        self.trace: Trace | None = None
        self._world, self._inner, self._outer = world, inner, outer

    def sum(self, x: torch.Tensor) -> torch.Tensor:
        """The sum of all ranks' x [...], the same on all of them: rank by rank in the order of `tree`."""
        return self.begin(x)()

    def begin(self, x: torch.Tensor) -> Later:
        """`sum`, whose first exchange goes on while this rank computes something else; x must stay as it is.

        All ranks begin the same sums in the same order, and call what they got in that order.
        """
        if self._world is None:
            return lambda: x
        way = choose(self.topology, x.nbytes)
        self.ways[way] = self.ways.get(way, 0) + 1
        x = x.contiguous()
        if way == "gather":
            gathered = self._all_gather(self._world, x)
            return lambda: tree(gathered().unbind())
        inner, outer = self._inner, self._outer
        if way == "scatter" or inner is None or outer is None:
            return self._in_parts(self._world, None, x)
        return self._in_parts(inner, outer, x)

    def _in_parts(self, among: Channel, across: Channel | None, x: torch.Tensor) -> Later:
        scattered = self._scattered(among, x)

        def finish() -> torch.Tensor:
            part = tree(scattered().unbind())
            if across is not None:
                part = tree(self._all_gather(across, part)().unbind())
            return self._all_gather(among, part)().view(-1)[: x.numel()].view(x.shape)

        return finish

    def to_first(self, x: torch.Tensor, widths: list[int]) -> torch.Tensor | None:
        """On the first rank, the [n, width] of all ranks side by side; None on the others."""
        world = self._world
        if world is None:
            return x
        if self.rank:
            self._start("logits", lambda: world.send([x.contiguous()], 0, 0), x.nbytes)()
            return None
        return torch.cat([x, *self._received("logits", x, widths[1:])], dim=1)

    def likeliest(self, x: torch.Tensor, widths: list[int]) -> tuple[torch.Tensor, torch.Tensor] | None:
        """On the first rank, for each row of the ranks' logits [n, width] side by side the first of the largest: its
        place, int64 [n], and itself, float32 [n]. None on the others, which send these two alone."""
        tops, places = x.max(dim=1)
        world = self._world
        if world is None:
            return places, tops
        packed = torch.stack([places.int() + sum(widths[: self.rank]), tops.view(torch.int32)], dim=1)
        if self.rank:
            self._start("likeliest", lambda: world.send([packed], 0, 0), packed.nbytes)()
            return None
        return best(torch.stack([packed, *self._received("likeliest", packed, [2] * (self.ranks - 1))]))

    def _received(self, name: str, like: torch.Tensor, widths: list[int]) -> list[torch.Tensor]:
        """What ranks 1, 2, ... send to the first: [n, width] of each, otherwise `like` its own."""
        world = self._world
        assert world is not None
        parts = [like.new_empty(len(like), width) for width in widths]
        for rank, part in enumerate(parts, 1):
            self._start(name, partial(world.recv, [part], rank, 0), 0)()
        return parts

    def _all_gather(self, among: Channel, x: torch.Tensor) -> Later:
        """[ranks, ...]"""
        out = x.new_empty(among.size() * x.numel())
        size = (among.size() - 1) * x.nbytes
        wait = self._start("gather", lambda: among._allgather_base(out, x.view(-1)), size)

        def finish() -> torch.Tensor:
            wait()
            return out.view(among.size(), *x.shape)

        return finish

    def _scattered(self, among: Channel, x: torch.Tensor) -> Later:
        """This rank's part of the elements of every rank, [ranks, elements / ranks]."""
        ranks = among.size()
        flat = x.view(-1)
        if rest := -len(flat) % ranks:
            flat = pad(flat, (0, rest))
        out = torch.empty_like(flat)
        size = flat.nbytes // ranks * (ranks - 1)
        wait = self._start("scatter", lambda: among.alltoall_base(out, flat, [], []), size)

        def finish() -> torch.Tensor:
            wait()
            return out.view(ranks, -1)

        return finish

    def _start(self, name: str, exchange: Callable[[], Work], size: int) -> Callable[[], None]:
        """Begins an exchange in which `size` bytes are sent; what it gives waits for it."""
        work = self._told(exchange)
        self.sent += size
        until: Callable[[], object] = work.wait
        if self.trace is not None:
            until = self.trace.exchange(name, work, size)

        def wait() -> None:
            start = time.perf_counter()
            self._told(until)
            self.waited_s += time.perf_counter() - start

        return wait

    def _told(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except RuntimeError as error:
            what = str(error).split("] ", 1)[-1].splitlines()[0]
            raise RankFailed(f"rank {self.rank} lost the others: {what}") from error


def best(found: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of int32 [ranks, n, 2], ids and the bits of float32 logits: for each of n the first of the largest logits, its id
    int64 [n] and itself float32 [n]. NaN counts as the largest."""
    tops = found[:, :, 1].contiguous().view(torch.float32)
    where = tops.argmax(0, keepdim=True)
    return found[:, :, 0].gather(0, where)[0].long(), tops.gather(0, where)[0]
