"""`train`: one Train job of an optimizer, from calls to a model that the session has under a new name.

The name is the adapter's folder: whoever asks for a model of that name, in whatever process, gets the base model with
the adapter (see `lampc.runtime.pool`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.ir import Module, digest, freeze, thaw
from lampc.ir.adapters import bind_predictors
from lampc.passes.optimize import TrainJob, TrainResult
from lampc.runtime.local import LocalModel
from lampc.runtime.models import ModelError
from lampc.runtime.target import LocalTarget
from lampc.runtime.training.folder import AdapterFolder
from lampc.runtime.training.rendering import pairs_of

if TYPE_CHECKING:
    from lampc.backend.training import Pair, TrainingSettings
    from lampc.runtime.session import Session


def train(session: Session, module: Module, job: TrainJob) -> TrainResult:
    """Train an adapter for `job.model` on the job's calls, or find the one that an equal job trained before.

    `job.options` are those of `lampc.backend.training.TrainingSettings`, and `output_dir`, the adapter's folder. A
    model that is an adapter itself is trained further. A training that was stopped goes on from its last checkpoint,
    at most `save_steps` steps back. What cannot be trained is a result with an `error`.
    """
    from lampc.backend import BackendError

    try:
        return _train(session, module, job)
    except (ModelError, BackendError, ValueError, TypeError, ArithmeticError) as e:
        return TrainResult(job.model, error=str(e))


def _train(session: Session, module: Module, job: TrainJob) -> TrainResult:
    from lampc.backend.training import TrainingSettings

    options: dict[str, Any] = thaw(job.options)
    place = str(options.pop("output_dir", None) or "")
    settings = TrainingSettings.of(options)
    model = trainable(session, module, job.model)
    assert model.folder is not None
    assert isinstance(model.target, LocalTarget)
    if not job.calls:
        raise ModelError(f"there are no calls to train `{job.model}` on")
    pairs = pairs_of(job.calls, bind_predictors(module, job.assignment), model.target)
    key = _key(model, pairs, settings)
    folder = AdapterFolder.under(session.store.path, place, model.folder.name, key)
    report = folder.report()
    if report is None:
        try:
            report = _made(session, model, pairs, settings, folder)
        finally:
            folder.release()
    return TrainResult(str(folder.path), freeze({k: v for k, v in report.items() if k != "key"}))


def trainable(session: Session, module: Module, name: str) -> LocalModel:
    """The model called `name`, if it can be trained. Raises ModelError saying why it cannot."""
    model = session.models.get(name, module).model
    if not isinstance(model, LocalModel):
        what = "an endpoint" if not model.target.local else "no model of ours"
        raise ModelError(f"model `{name}` is {what} and cannot be trained; give a checkpoint folder or `firefly`")
    if model.folder is None:
        raise ModelError(
            f"model `{name}` was given as an engine, whose weights may be rounded and are not here to train; give the "
            "checkpoint folder that it was loaded from"
        )
    return model


def _made(
    session: Session, model: LocalModel, pairs: list[Pair], settings: TrainingSettings, folder: AdapterFolder
) -> dict[str, Any]:
    from lampc.backend.training import Trainer

    assert model.folder is not None
    state = folder.begin()
    trainer = Trainer(model.folder, pairs, settings, model.adapter_folder)
    if state.exists():
        trainer.restore(state)
    label = f"train {model.folder.name}"
    for step in trainer.run():
        session.bus.emit("progress", label=label, done=step.number, total=step.total, note=f"loss {step.loss:.3f}")
        if step.number % settings.save_steps == 0 and step.number < step.total:
            trainer.keep(state)
    losses = trainer.losses
    report = {
        "base": model.source,
        "pairs": len(trainer.pairs),
        "skipped": trainer.skipped,
        "steps": trainer.total,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "settings": settings.outcome(),
    }
    folder.finish(lambda path: trainer.adapter.save(path, model.source), report)
    return report


def _key(model: LocalModel, pairs: list[Pair], settings: TrainingSettings) -> str:
    """Names everything that the adapter follows from."""
    from lampc.backend.models.peft import TENSORS
    from lampc.backend.models.weights import Weights

    def contents(folder: Path | None, *single: str) -> str:
        return "" if folder is None else Weights(folder, *single).digest()

    assert model.folder is not None
    config = (model.folder / "config.json").read_text(encoding="utf-8")
    sent = [[p.prompt, p.answer] for p in pairs]
    parts = [contents(model.folder), config, contents(model.adapter_folder, TENSORS), sent, settings.outcome()]
    return digest(freeze(parts))
