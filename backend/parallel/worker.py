"""What a rank other than the first does: it loads its share, then computes the steps that the first one sends."""

from collections.abc import Callable

import torch
from torch.distributed.distributed_c10d import Store

from lampc.backend.parallel.join import file_store, join
from lampc.backend.parallel.settings import Settings
from lampc.backend.parallel.share import Share
from lampc.backend.parallel.step import Reader


def serve(store: Store, rank: int, settings: Settings, watch: Callable[[], None], loopback: bool) -> None:
    """Until the first rank says that it is over. Raises RankFailed if that or another one is gone."""
    torch.set_num_threads(settings.threads)
    share = Share(settings, rank)
    group, control = join(store, rank, settings, watch, loopback)
    share.connect(group)
    reader = Reader()
    while len(wire := control.receive()):
        step = reader.read(wire)
        if step.plain:
            share.likeliest(step)
        else:
            share.run(step)
    share.end()


def serve_launched(rank: int, store: str, settings: str) -> None:
    """`serve` of a process that the first rank has started: the store is a file, settings are JSON."""
    agreed = Settings.from_json(settings)
    serve(file_store(store, agreed.ranks), rank, agreed, lambda: None, loopback=True)
