"""How ranks are connected, and which way of summing suits that: read once, chosen by a pure function.

All ways give the same bits, for they compute the same tree (`lampc.backend.parallel.shards.tree`):

- `gather`: everybody gets everything and sums by itself. One exchange, (R - 1) S bytes sent per rank.
- `scatter`: everybody sums one R-th of the elements, and gets the rest summed. Two exchanges, 2 (R - 1) / R S bytes.
- `hierarchical`: `scatter` within a node, where between its two exchanges the parts are gathered and summed across
  nodes: three exchanges, 2 (L - 1) / L S bytes within a node of L ranks and (N - 1) / L S to the N - 1 others.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch

Way = Literal["gather", "scatter", "hierarchical"]


@dataclass(frozen=True, slots=True)
class Link:
    """What an exchange costs: seconds, and bytes per second of a rank (between nodes: of a node)."""

    latency_s: float
    bytes_per_s: float


LOOPBACK = Link(3e-4, 1e9)
NVLINK = Link(2e-5, 1.5e11)
PCIE = Link(3e-5, 1.2e10)
NETWORK = Link(1e-4, 5e9)


@dataclass(frozen=True, slots=True)
class Topology:
    """The node of each rank, and the links inside of a node and between nodes."""

    nodes: tuple[int, ...]
    inside: Link = LOOPBACK
    between: Link = NETWORK

    @property
    def local(self) -> int:
        """Ranks of a node, if all nodes hold runs of equally many that make subtrees; else 1."""
        ranks, count = len(self.nodes), len(set(self.nodes))
        each = ranks // count
        even = ranks == each * count and each & (each - 1) == 0
        runs = all(len(set(self.nodes[i : i + each])) == 1 for i in range(0, ranks, each))
        return each if even and runs else 1


@lru_cache(4096)
def choose(topology: Topology, size: int) -> Way:
    """The way that should sum `size` bytes the fastest over these links; of equals the simplest."""
    ranks, nodes, local = len(topology.nodes), len(set(topology.nodes)), topology.local
    inside, between = topology.inside, topology.between

    def exchange(within: float, across: float) -> float:
        """Seconds of an exchange in which a rank sends `within` and a node `across` bytes."""
        seconds = 0.0
        if within:
            seconds += inside.latency_s + within / inside.bytes_per_s
        if across:
            seconds += between.latency_s + across / between.bytes_per_s
        return seconds

    largest = max(topology.nodes.count(node) for node in topology.nodes)
    away = largest * (ranks - largest) * size
    costs: dict[Way, float] = {
        "gather": exchange((largest - 1) * size, away),
        "scatter": 2 * exchange((largest - 1) * size / ranks, away / ranks),
    }
    if nodes > 1 and local > 1:
        costs["hierarchical"] = 2 * exchange((local - 1) * size / local, 0) + exchange(0, (nodes - 1) * size)
    return min(costs, key=lambda way: costs[way])


def bytes_sent(way: Way, ranks: int, local: int, elements: int, itemsize: int) -> int:
    """Bytes that a rank sends to sum so many elements; what does not divide evenly is padded."""
    if ranks == 1:
        return 0
    if way == "gather":
        return (ranks - 1) * elements * itemsize
    if way == "scatter":
        return 2 * (ranks - 1) * -(-elements // ranks) * itemsize
    return (2 * (local - 1) + ranks // local - 1) * -(-elements // local) * itemsize


def inside_link(devices: Sequence[torch.device]) -> Link:
    """The link between devices of one node: as torch reports peer access of GPUs; loopback between processes."""
    if len(devices) < 2 or any(device.type != "cuda" for device in devices):
        return LOOPBACK
    pairs = [(a.index, b.index) for a in devices for b in devices if a.index != b.index]
    return NVLINK if all(torch.cuda.can_device_access_peer(a, b) for a, b in pairs) else PCIE


def node_name() -> str:
    """What this machine is called among those of a job."""
    return socket.gethostname()


def numbered(names: Sequence[str]) -> tuple[int, ...]:
    """Nodes by number, in the order of their first rank."""
    order = list(dict.fromkeys(names))
    return tuple(order.index(name) for name in names)
