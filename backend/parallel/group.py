"""What ranks say to each other while they compute: sums in one fixed tree, and logits to the first rank.

Every byte is counted where it is sent.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch.nn.functional import pad

from lampc.backend.parallel.errors import RankFailed
from lampc.backend.parallel.shards import tree
from lampc.backend.parallel.topology import Topology, Way, choose


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
    there are several nodes that can sum in a hierarchy. `sent` are bytes so far, `done` exchanges.
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
        self.done = 0
        self.ways: dict[Way, int] = {}
        self._world, self._inner, self._outer = world, inner, outer

    def sum(self, x: torch.Tensor) -> torch.Tensor:
        """The sum of all ranks' x [...], the same on all of them: rank by rank in the order of `tree`."""
        if self._world is None:
            return x
        way = choose(self.topology, x.nbytes)
        self.ways[way] = self.ways.get(way, 0) + 1
        x = x.contiguous()
        if way == "gather":
            return tree(self._all_gather(self._world, x).unbind())
        if way == "scatter" or self._inner is None or self._outer is None:
            return self._whole(self._world, tree(self._scattered(self._world, x).unbind()), x)
        part = tree(self._scattered(self._inner, x).unbind())
        part = tree(self._all_gather(self._outer, part).unbind())
        return self._whole(self._inner, part, x)

    def to_first(self, x: torch.Tensor, widths: list[int]) -> torch.Tensor | None:
        """On the first rank, the [n, width] of all ranks side by side; None on the others."""
        world = self._world
        if world is None:
            return x
        if self.rank:
            self._wait(lambda: world.send([x.contiguous()], 0, 0), x.nbytes)
            return None
        parts = [x]
        for rank in range(1, self.ranks):
            part = x.new_empty(len(x), widths[rank])
            self._wait(lambda part=part, rank=rank: world.recv([part], rank, 0), 0)  # type: ignore[misc]
            parts.append(part)
        return torch.cat(parts, dim=1)

    def _all_gather(self, among: Channel, x: torch.Tensor) -> torch.Tensor:
        """[ranks, ...]"""
        out = x.new_empty(among.size() * x.numel())
        self._wait(lambda: among._allgather_base(out, x.view(-1)), (among.size() - 1) * x.nbytes)
        return out.view(among.size(), *x.shape)

    def _scattered(self, among: Channel, x: torch.Tensor) -> torch.Tensor:
        """This rank's part of the elements of every rank, [ranks, elements / ranks]."""
        ranks = among.size()
        flat = x.view(-1)
        if rest := -len(flat) % ranks:
            flat = pad(flat, (0, rest))
        out = torch.empty_like(flat)
        self._wait(lambda: among.alltoall_base(out, flat, [], []), flat.nbytes // ranks * (ranks - 1))
        return out.view(ranks, -1)

    def _whole(self, among: Channel, part: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return self._all_gather(among, part).view(-1)[: like.numel()].view(like.shape)

    def _wait(self, start: Callable[[], Work], size: int) -> None:
        try:
            start().wait()
        except RuntimeError as error:
            raise RankFailed(
                f"rank {self.rank} lost the others: {str(error).split('] ', 1)[-1].splitlines()[0]}"
            ) from error
        self.sent += size
        self.done += 1
