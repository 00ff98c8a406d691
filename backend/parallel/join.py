"""Ranks find each other through a store, and are connected: gloo between CPUs, NCCL between GPUs.

Process groups are made one by one and not through torch's global one, which belongs to the caller's own program.
"""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import cast

import numpy as np
import torch
from torch.distributed.distributed_c10d import PrefixStore, ProcessGroupGloo, Store

from lampc.backend.parallel.errors import RankFailed
from lampc.backend.parallel.group import Channel, Group
from lampc.backend.parallel.settings import Settings
from lampc.backend.parallel.step import Wire
from lampc.backend.parallel.topology import LOOPBACK, Topology, inside_link, node_name, numbered

_FOREVER = timedelta(days=365)
_LOADING = timedelta(hours=6)


class Control:
    """Steps from the first rank to the others, who wait for them as long as it takes."""

    def __init__(self, world: Channel, rank: int) -> None:
        self._world, self._rank = world, rank

    def send(self, wire: Wire) -> None:
        """From the first rank. Raises RankFailed."""
        self._broadcast(torch.tensor([len(wire)]))
        if len(wire):
            self._broadcast(torch.from_numpy(wire))

    def receive(self) -> Wire:
        """On the others; nothing in it means the end. Raises RankFailed if the first rank is gone."""
        size = torch.zeros(1, dtype=torch.int64)
        self._broadcast(size)
        wire = torch.zeros(int(size), dtype=torch.int32)
        if len(wire):
            self._broadcast(wire)
        found: Wire = wire.numpy().astype(np.int32, copy=False)
        return found

    def stop(self) -> None:
        """From the first rank: there will be no more steps. Raises RankFailed."""
        self.send(np.zeros(0, np.int32))

    def _broadcast(self, x: torch.Tensor) -> None:
        try:
            self._world.broadcast(x, 0).wait()
        except RuntimeError as error:
            raise RankFailed(f"rank {self._rank} lost the others: {error}") from error


def own_device(settings: Settings, rank: int) -> torch.device:
    """Where a rank computes: one GPU for each rank of a machine."""
    if settings.device == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank)))


def join(
    store: Store, rank: int, settings: Settings, watch: Callable[[], None], loopback: bool
) -> tuple[Group, Control]:
    """Connects this rank, once all of them have loaded their weights.

    `watch` is called while it waits, and may raise. `loopback`: all ranks are processes of this machine.
    """
    ranks, device = settings.ranks, own_device(settings, rank)
    store.set(f"node{rank}", node_name())
    _wait_for(store, [f"node{i}" for i in range(ranks)], watch)
    nodes = numbered([store.get(f"node{i}").decode() for i in range(ranks)])
    local = [i for i in range(ranks) if nodes[i] == nodes[rank]]
    inside = LOOPBACK if device.type == "cpu" else inside_link([torch.device("cuda", i) for i in range(len(local))])
    topology = Topology(nodes, inside)
    limit = timedelta(seconds=settings.timeout_s)

    def connect(name: str, among: list[int]) -> Channel:
        space = PrefixStore(name, store)
        if device.type == "cuda":
            return _nccl(space, among.index(rank), len(among), limit)
        return _gloo(space, among.index(rank), len(among), limit, loopback)

    everyone = list(range(ranks))
    control = Control(_gloo(PrefixStore("control", store), rank, ranks, _FOREVER, loopback), rank)
    world = connect("world", everyone)
    inner = outer = None
    if len(set(nodes)) > 1 and topology.local > 1:
        node, place = divmod(rank, topology.local)
        inner = connect(f"node{node}", [i for i in everyone if i // topology.local == node])
        outer = connect(f"place{place}", [i for i in everyone if i % topology.local == place])
    return Group(rank, topology, world, inner, outer), control


def file_store(path: str, ranks: int) -> Store:
    """Where processes of one machine find each other."""
    from torch.distributed import FileStore  # type: ignore[attr-defined]

    return FileStore(path, ranks)


def _wait_for(store: Store, keys: list[str], watch: Callable[[], None]) -> None:
    end = time.monotonic() + _LOADING.total_seconds()
    while not store.check(keys):
        watch()
        if time.monotonic() > end:
            raise RankFailed("not all ranks have come")
        time.sleep(0.02)


def _gloo(store: Store, rank: int, ranks: int, limit: timedelta, loopback: bool) -> Channel:
    options = ProcessGroupGloo._Options()  # type: ignore[attr-defined]
    options._timeout = limit
    make = ProcessGroupGloo
    options._devices = [make.create_device(hostname="127.0.0.1") if loopback else make.create_default_device()]
    return cast(Channel, ProcessGroupGloo(store, rank, ranks, options))


def _nccl(store: Store, rank: int, ranks: int, limit: timedelta) -> Channel:
    from torch.distributed.distributed_c10d import ProcessGroupNCCL

    # What goes wrong is to be raised where it is waited for: by default a thread ends the process.
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    options = ProcessGroupNCCL.Options()
    options._timeout = limit
    return cast(Channel, ProcessGroupNCCL(store, rank, ranks, options))
