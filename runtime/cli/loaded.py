"""Engines of commands that hold one for as long as they run: here, or in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from lampc.backend import TokenEngine
    from lampc.backend.loop import Driver

T = TypeVar("T")


@contextmanager
def loaded_engine(model: str, options: dict[str, Any]) -> Iterator[TokenEngine]:
    """An engine for a checkpoint folder or the bundled model, closed at the end. Raises CommandError."""
    from lampc.backend import load_engine
    from lampc.runtime.collector import settle

    engine = _made(lambda: load_engine(_folder(model), **options))
    settle()
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def driven_engine(model: str, options: dict[str, Any], one_process: bool) -> Iterator[Driver]:
    """One that is driven from elsewhere: by a thread of this process, or in a process of its own. Ranks that a launcher
    has started are processes already, and this is one of them. Raises CommandError."""
    if one_process or "RANK" in os.environ:
        from lampc.backend.loop import EngineLoop

        with loaded_engine(model, options) as engine:
            yield EngineLoop(engine)
        return
    from lampc.runtime.engine_process import EngineProcess

    driver = _made(lambda: EngineProcess(_folder(model), **options))
    try:
        yield driver
    finally:
        driver.close()


def _folder(model: str) -> Path:
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.pool import FIREFLY, firefly_folder

    if "://" in model:
        raise CommandError(f"{model}: this command runs a model on this machine; give a checkpoint folder")
    folder = firefly_folder() if model == FIREFLY else Path(model)
    if not folder.is_dir():
        raise CommandError(f"{model}: no such folder; give a checkpoint folder or `{FIREFLY}`")
    return folder


def _made(make: Callable[[], T]) -> T:
    from lampc.runtime.cli.failure import CommandError

    try:
        return make()
    except (TypeError, ValueError) as e:
        raise CommandError(f"--engine: {e}") from e
