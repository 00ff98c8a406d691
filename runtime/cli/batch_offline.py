"""`lampc batch` with an endpoint: its offline batches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lampc.runtime.batch import Figures
    from lampc.runtime.providers import OpenAIClient


def offline(
    file: Path,
    out: Path,
    model: str,
    options: dict[str, Any],
    defaults: dict[str, Any],
    *,
    ordered: bool,
    strict: bool,
    retry: bool,
    fresh: bool,
) -> tuple[Figures, int]:
    """What was done, and how many lines had failed before. Raises CommandError, BatchError, LMError."""
    from hashlib import blake2b
    from uuid import uuid4

    from lampc.runtime.batch import Figures, Lines, Results, survey
    from lampc.runtime.batch.offline import run_offline
    from lampc.runtime.batches import BatchQueue
    from lampc.runtime.cli.batch import asked_to_stop
    from lampc.runtime.cli.failure import on_interrupt
    from lampc.runtime.events import EventBus
    from lampc.runtime.progress import Progress
    from lampc.runtime.providers.batches import BatchEndpoint
    from lampc.runtime.store import Store

    figures = Figures()
    ledger = out.with_name(out.name + ".batches")
    if fresh:
        ledger.unlink(missing_ok=True)
    poll = options.pop("poll", 60.0)
    with (
        _client(model, options) as client,
        Results(out, retry=retry) as results,
        Store(ledger) as notes,
        Progress(EventBus()) as progress,
    ):
        digest = blake2b(f"{client.base_url} {client.model}".encode(), digest_size=16).hexdigest()
        lines = Lines(file, defaults, digest)
        found = survey(lines, results, fresh=fresh, strict=strict)
        kept = f"{out} and {ledger} keep what is finished and what is submitted; the same command goes on from there"
        on_interrupt(lambda: f"{found.known + figures.requests:,} of {found.total:,} lines were done; {kept}")
        if fresh:
            results.clear()
            notes.put("salt", "", {"salt": uuid4().hex})
        salt = (notes.get("salt", "") or {"salt": ""})["salt"]
        queue = BatchQueue(BatchEndpoint(client), notes, poll=(min(1.0, poll), poll), salt=salt)

        def told(now: Figures) -> None:
            nonlocal figures
            figures = now
            progress.show("batch", found.known + now.requests, found.total)

        if len(found.order):
            progress.say(f"{client.base_url}: {len(found.order):,} lines for batches of {client.model}")
        with asked_to_stop() as stopped:
            todo = found.todo(lines, results)
            figures = run_offline(client, queue, todo, results, strict=strict, on_line=told, stopped=stopped)
            results.finish(ordered=ordered)
    if not figures.failed:
        ledger.unlink(missing_ok=True)
        ledger.with_name(ledger.name + ".lock").unlink(missing_ok=True)
    return figures, found.failed


def _client(model: str, options: dict[str, Any]) -> OpenAIClient:
    """Raises CommandError."""
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.providers import OpenAIClient
    from lampc.runtime.remote import CLIENT_OPTIONS
    from lampc.runtime.routes import route

    url, name = route(model, None)
    known = [o for o in CLIENT_OPTIONS if o != "batch"]
    odd = [o for o in options if o not in (*known, "model")]
    if odd:
        raise CommandError(f"--engine {odd[0]}: an endpoint has {', '.join(('model', 'poll', *known))}")
    given = {k: v for k, v in options.items() if k != "model"}
    try:
        return OpenAIClient(url, str(options.get("model") or name), **given)
    except ValueError as e:
        raise CommandError(f"{model}: {e}") from None


__all__ = ["offline"]
