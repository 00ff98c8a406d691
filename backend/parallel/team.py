"""From a checkpoint folder to a tensor-parallel engine: the ranks are started here, or come by `torchrun`."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from lampc.backend.api import EngineInfo
from lampc.backend.host_tier import HostTier
from lampc.backend.models.fields import Fields
from lampc.backend.models.registry import ModelClass
from lampc.backend.parallel.engine import ParallelEngine
from lampc.backend.parallel.errors import RankFailed
from lampc.backend.parallel.join import file_store, join
from lampc.backend.parallel.launch import Ranks
from lampc.backend.parallel.outline import Outline, recipe
from lampc.backend.parallel.runner import ParallelRunner
from lampc.backend.parallel.settings import Settings as Settings
from lampc.backend.parallel.shards import VIRTUAL, Shards
from lampc.backend.parallel.share import Share
from lampc.backend.parallel.worker import serve
from lampc.backend.swap_rule import SwapRule
from lampc.backend.tokenizer import TextTokenizer

_SETTINGS = "settings"
_LOADING = timedelta(hours=6)


def check(ranks: int, timeout_s: float, kind: str, device: str) -> None:
    """Raises ValueError for options that do not go together."""
    Shards(0, ranks)
    if not timeout_s > 0:
        raise ValueError(f"rank_timeout is {timeout_s}; give seconds above 0")
    if kind != "paged":
        raise ValueError(f"the {kind} engine has one rank; leave tensor_parallel out")
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device is {device!r}; ranks take their GPUs by themselves: give 'cuda', or 'cpu'")


def outline(ranks: int, model: ModelClass, fields: Fields, context: int | None) -> Outline:
    """The first rank's share. Raises Unsupported or ValueError if the model cannot be shared out like this."""
    made = recipe(model, fields, context)
    return made.outline(Shards(0, ranks))


def numerics(ranks: int, exact: bool) -> str:
    """What of the ranks decides how results are rounded: nothing in exact mode, but that there are shards."""
    return f"{VIRTUAL} shards" if exact else f"{ranks} ranks"


def follow(ranks: int) -> None:
    """Returns on the first rank, and where no launcher has started several.

    The others serve the first one until it closes its engine, and then leave their program by SystemExit.
    Raises ValueError if the launcher has started another number of ranks.
    """
    job = _job(ranks)
    if job is None or job[1] == 0:
        return
    store, rank, loopback = job
    store.wait([_SETTINGS], _LOADING)
    serve(store, rank, Settings.from_json(store.get(_SETTINGS).decode()), lambda: None, loopback)
    raise SystemExit(0)


def start(settings: Settings, tokenizer: TextTokenizer, info: EngineInfo, **options: Any) -> ParallelEngine:
    """The engine, once all ranks are there; `options` are those of `EngineCore` but for `kv_tokens`.

    Raises RankFailed if one of them fails before, and what loading this rank's share raises.
    """
    if settings.ranks == 1:
        runner = ParallelRunner(Share(settings, 0), None, None)
        return _engine(runner, lambda: None, tokenizer, info, settings, options)
    job = _job(settings.ranks)
    if job is not None:
        store, rank, loopback = job
        store.set(_SETTINGS, settings.to_json())
        share = Share(settings, rank)
        group, control = join(store, rank, settings, lambda: None, loopback)
        share.connect(group)
        runner = ParallelRunner(share, control, None)
        return _engine(runner, runner.close, tokenizer, info, settings, options)
    return _launched(settings, tokenizer, info, options)


def _engine(
    runner: ParallelRunner,
    leave: Callable[[], None],
    tokenizer: TextTokenizer,
    info: EngineInfo,
    settings: Settings,
    options: dict[str, Any],
) -> ParallelEngine:
    try:
        host = None
        if settings.host_blocks:
            rule = SwapRule(runner.share.copy_seconds(settings))
            host = HostTier(settings.host_blocks, settings.block_size, rule)
        return ParallelEngine(runner, leave, tokenizer, info, kv_tokens=settings.slots, host=host, **options)
    except BaseException:
        leave()
        raise


def _launched(
    settings: Settings, tokenizer: TextTokenizer, info: EngineInfo, options: dict[str, Any]
) -> ParallelEngine:
    folder = tempfile.mkdtemp(prefix="lampc-ranks-")  # for this user alone
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        place = str(Path(folder) / "store")
        ranks = Ranks([_order(settings, rank, place) for rank in range(1, settings.ranks)], settings.timeout_s)
        undo.callback(ranks.close)
        share = Share(settings, 0)
        try:
            group, control = join(file_store(place, settings.ranks), 0, settings, ranks.check, loopback=True)
            share.connect(group)
        except (RankFailed, RuntimeError) as error:
            raise RankFailed(ranks.explain(error)) from error
        ranks.joined()
        runner = ParallelRunner(share, control, ranks)
        undo.callback(runner.close)
        leave = undo.pop_all().close
    return _engine(runner, leave, tokenizer, info, settings, options)


def _order(settings: Settings, rank: int, store: str) -> str:
    return json.dumps({"rank": rank, "store": store, "settings": settings.to_json()})


def _job(ranks: int) -> tuple[Store, int, bool] | None:
    """Store and rank in the job that a launcher has started, and whether it is on one machine; None without one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks == 1 or size == 1 or "RANK" not in os.environ:
        return None
    if size != ranks:
        raise ValueError(f"tensor_parallel is {ranks}, but the launcher has started {size} ranks; make them equal")
    store, rank, _ = next(rendezvous("env://"))
    return PrefixStore("lampc", store), rank, os.environ.get("MASTER_ADDR") in ("localhost", "127.0.0.1")
