"""The training loop: resumable, deterministic for a given seed, one core or one GPU."""

from __future__ import annotations

import copy
import math
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from firefly.batches import Batch, Source, Stage
from firefly.circuit import wire
from firefly.model import Firefly, Shape
from firefly.muon import Muon


@dataclass(frozen=True)
class Plan:
    """The schedule; progress is the larger of steps done and minutes used, as shares of the budget."""

    stages: tuple[Stage, ...]
    steps: int
    minutes: float
    lr: float = 1e-3
    warmup: int = 100
    decay_from: float = 0.5
    floor: float = 0.02
    average: float = 0.998
    muon: bool = True

    def stage(self, progress: float) -> Stage:
        """The stage at this progress."""
        for stage in self.stages:
            if progress < stage.until:
                return stage
        return self.stages[-1]

    def rate(self, step: int, progress: float) -> float:
        """Learning rate: warm-up, constant, cosine."""
        rate = self.lr * min(1.0, (step + 1) / self.warmup)
        if progress > self.decay_from:
            part = min(1.0, (progress - self.decay_from) / (1 - self.decay_from))
            rate *= self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * part))
        return rate


class Trainer:
    """Owns the network, its running average and the optimisers."""

    def __init__(
        self,
        shape: Shape,
        plan: Plan,
        source: Source,
        device: str = "cpu",
        seed: int = 0,
        half: bool = True,
    ):
        self.plan, self.source, self.device, self.half = plan, source, device, half
        self.model = Firefly(shape, seed)
        wire(self.model)
        self.model.to(device)
        self.average = copy.deepcopy(self.model)
        params = dict(self.model.named_parameters())
        block = [p for name, p in params.items() if p.ndim == 2 and name != "embed"]
        rest = [p for name, p in params.items() if p.ndim == 1 or name == "embed"]
        self.muon = Muon(block if plan.muon else [torch.zeros(1, 1)], lr=plan.lr)
        self.adam = torch.optim.AdamW(
            rest if plan.muon else list(params.values()), lr=plan.lr, betas=(0.9, 0.98), weight_decay=0.0
        )
        self.step = 0
        self.used = 0.0

    @property
    def progress(self) -> float:
        """Share of the budget that is spent."""
        return max(self.step / self.plan.steps, self.used / (60 * self.plan.minutes))

    def loss(self, batch: Batch) -> torch.Tensor:
        """Weighted mean of the cross entropy at the supervised positions."""
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.half):
            hidden = self.model(batch.ids, batch.positions, batch.mask)
            picked = hidden.reshape(-1, hidden.shape[-1])[batch.where]
            logits = picked @ self.model.embed.t()
        losses = F.cross_entropy(logits.float(), batch.targets, reduction="none")
        return (losses * batch.weights).sum() / batch.weights.sum().clamp_min(1.0)

    def train_step(self) -> float:
        """One update; returns the loss."""
        progress = self.progress
        rate = self.plan.rate(self.step, progress)
        for optimiser in (self.muon, self.adam):
            for group in optimiser.param_groups:
                group["lr"] = rate
        batch = self.source.batch(self.step, self.plan.stage(progress), self.device)
        loss = self.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.muon.step()
        self.adam.step()
        self.model.zero_grad(set_to_none=True)
        keep = min(self.plan.average, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
            for mean, now in pairs:
                mean.lerp_(now, 1 - keep)
        self.step += 1
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on as if nothing had happened."""
        return {
            "shape": self.model.shape.as_dict(),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "muon": self.muon.state_dict(),
            "adam": self.adam.state_dict(),
            "step": self.step,
            "used": self.used,
            "seed": self.source.seed,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a saved state."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
        self.step, self.used, self.source.seed = state["step"], state["used"], state["seed"]

    def save(self, path: Path) -> None:
        """Write the checkpoint under a temporary name first, so that a kill leaves the old one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        torch.save(self.state(), temporary)
        os.replace(temporary, path)

    def run(self, checkpoint: Path | None, every: float = 120.0, log_every: int = 25) -> None:
        """Train until the budget is spent or the process is asked to end."""
        stop: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
        saved = logged = time.monotonic()
        total, seen = 0.0, 0
        while self.progress < 1.0 and not stop:
            begin = time.monotonic()
            total += self.train_step()
            seen += 1
            now = time.monotonic()
            self.used += now - begin
            if self.step % log_every == 0:
                speed = seen * self.source.tokens / (now - logged)
                print(
                    f"step {self.step} minutes {self.used / 60:.1f} progress {self.progress:.3f} "
                    f"loss {total / seen:.4f} tok/s {speed:.0f}",
                    flush=True,
                )
                total, seen, logged = 0.0, 0, now
            if checkpoint is not None and now - saved > every:
                self.save(checkpoint)
                saved = now
        if checkpoint is not None:
            self.save(checkpoint)
