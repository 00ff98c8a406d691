"""The training itself: a model's own layers in float32 under autograd, its weights frozen, AdamW on the adapter.

Loshchilov and Hutter, arXiv 1711.05101. Results follow from settings, pairs and model; a training that goes on from a
checkpoint ends in the same bits as one that was never stopped, on the same machine with as many threads.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn import functional

from lampc.backend.errors import CheckpointError, Unsupported
from lampc.backend.models.checkpoint import Checkpoint
from lampc.backend.models.fields import Fields
from lampc.backend.models.registry import Model, check_model, resolve
from lampc.backend.models.rows import Rows
from lampc.backend.models.weights import Weights
from lampc.backend.scores import scores_of
from lampc.backend.tokenizer import read_json
from lampc.backend.training.attention import attention_over
from lampc.backend.training.lora import LowRank
from lampc.backend.training.pairs import Pair, batch_at
from lampc.backend.training.settings import TrainingSettings


@dataclass(frozen=True, slots=True)
class Step:
    """A step that was made: its number from 1, of how many, and the mean loss of its answers' tokens, in nats."""

    number: int
    total: int
    loss: float


class Trainer:
    """A training of an adapter for the checkpoint in `folder`, from the adapter in `start` on if there is one.

    `skipped` of the pairs are longer than the settings allow. Raises CheckpointError, UnknownArchitecture, Unsupported,
    or ValueError if no pair is short enough.
    """

    def __init__(
        self, folder: Path, pairs: Sequence[Pair], settings: TrainingSettings, start: Path | None = None
    ) -> None:
        self.settings = settings
        self._device = torch.device(settings.device)
        self.adapter = LowRank(
            settings.rank, settings.lora_alpha, settings.target_modules, settings.seed, self._device, start
        )
        self._model = _load(folder, self._device, self.adapter)
        limit = min(settings.max_seq_length or self._model.context_length, self._model.context_length)
        self.pairs = [p for p in pairs if len(p) <= limit]
        self.skipped = len(pairs) - len(self.pairs)
        if not self.pairs:
            raise ValueError(
                f"none of {len(pairs)} pairs has at most {limit} tokens; give others, or raise max_seq_length"
            )
        self.total = settings.steps(len(self.pairs))
        self._tensors = list(self.adapter.tensors.values())
        self._adam = torch.optim.AdamW(
            self._tensors, lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=False
        )
        self.losses: list[float] = []

    def run(self) -> Iterator[Step]:
        """Makes the steps that are left, one at each turn; in between the state is whole and can be kept."""
        while len(self.losses) < self.total:
            self.losses.append(self._step(len(self.losses)))
            yield Step(len(self.losses), self.total, self.losses[-1])

    def _step(self, number: int) -> float:
        settings = self.settings
        batch = batch_at(self.pairs, settings.step_pairs, number, settings.seed)
        tokens = sum(len(p.answer) for p in batch)
        for group in self._adam.param_groups:
            group["lr"] = settings.rate(number, self.total)
        self._adam.zero_grad(set_to_none=True)
        loss, size = 0.0, settings.per_device_train_batch_size
        for first in range(0, len(batch), size):
            part = self._loss(batch[first : first + size]) / tokens
            part.backward()  # type: ignore[no-untyped-call]
            loss += float(part.detach())
        if not loss < float("inf"):
            raise ArithmeticError(f"the loss of step {number + 1} is {loss}; lower learning_rate")
        torch.nn.utils.clip_grad_norm_(self._tensors, settings.max_grad_norm, foreach=False)
        self._adam.step()
        return loss

    def _loss(self, pairs: Sequence[Pair]) -> torch.Tensor:
        """Cross entropy summed over the tokens of the pairs' answers."""
        ids: list[int] = []
        positions: list[int] = []
        rows: list[int] = []
        wanted: list[int] = []
        for p in pairs:
            rows += range(len(ids) + len(p.prompt) - 1, len(ids) + len(p) - 1)  # each gives the id after its own
            ids += [*p.prompt, *p.answer]
            positions += range(len(p))
            wanted += p.answer
        a, b, c, d = (torch.tensor(x, device=self._device) for x in (ids, positions, rows, wanted))
        model = self._model
        attend = attention_over([len(p) for p in pairs], model.windows, scores_of(model, model.head_dim))
        return functional.cross_entropy(model.forward(a, b, attend, c), d, reduction="sum")

    # -- what is kept -------------------------------------------------------------------------------------

    def keep(self, path: Path) -> None:
        """Write the state; a file that was there is replaced as a whole."""
        tensors = {}
        for name, tensor in self.adapter.tensors.items():
            tensors[name] = tensor.detach().cpu()
            for moment, value in self._adam.state.get(tensor, {}).items():
                tensors[f"{moment} {name}"] = value.detach().cpu().contiguous()
        scratch = path.with_name(path.name + ".tmp")
        save_file(tensors, scratch, {"losses": json.dumps(self.losses)})
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(path)

    def restore(self, path: Path) -> None:
        """Go on from a state that `keep` wrote for the same training. Raises CheckpointError."""
        try:
            with safe_open(path, framework="pt") as file:
                losses = json.loads(file.metadata()["losses"])
                for name, tensor in self.adapter.tensors.items():
                    tensor.data.copy_(file.get_tensor(name))
                    moments = {m: file.get_tensor(f"{m} {name}") for m in ("step", "exp_avg", "exp_avg_sq")}
                    self._adam.state[tensor] = {m: v if m == "step" else v.to(self._device) for m, v in moments.items()}
        except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: not the state of this training ({error}); remove it to begin anew"
            ) from error
        self.losses = [float(x) for x in losses]


def _load(folder: Path, device: torch.device, adapter: LowRank) -> Model:
    """The model in float32, by torch's differentiable operations alone, with the adapter around its products."""
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the folder of a checkpoint")
    config = read_json(path)
    fields = Fields(config, path)
    kind = resolve(config, path)
    fields.only("quantization_config")
    weights = Weights(folder)
    rows = Rows(exact=False, packed=False)
    model = kind.load(Checkpoint(fields, weights, device, torch.float32, rows, None, adapter))
    check_model(model)
    if getattr(model, "adapters", None) is not adapter:
        raise Unsupported(f"{path}: models of this architecture take no adapters, so none can be trained for them")
    adapter.check_all_read()
    weights.check_all_read()
    weights.close()
    return model
