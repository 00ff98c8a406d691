"""What weights in eight bits cost and gain: error of logits, equal choices, nats lost, bytes, speed of one stream.

    python benchmarks/weights_int8.py [--episodes 200] [--prompts 6] [--new 64] [--rounds 5] [--threads 1]

For firefly, on fresh episodes of the kind it was trained on, and for a random model of Qwen2.5-0.5B's shape on random
ids. Both precisions read the same texts: `error` is the difference of their logits, `relative` its norm over theirs,
`argmax` the share of places at which both find the same token likeliest. `nats` are those per token of firefly's
answers, weighted as in its training, and `lost` what eight bits add, with the standard error over episodes. Beside it
stand what bfloat16 does by itself, against float32, and what finer scales would gain: those for groups of weights along
K, in torch. Memory is what a process of its own takes to load the model, without files that it maps (bfloat16's
embeddings are such). One stream is decoded in turns; with one thread time is that thread's CPU time, so that other
programs disturb less.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _common import ROOT, append, in_turns, machine, median, spread
from engine_bench import cache
from engine_bench.model import QWEN, make, qwen
from torch.nn.functional import pad, scaled_dot_product_attention

from lampc.backend import Request, Sampling, TokenEngine, load_engine
from lampc.backend.int8 import decode, encode
from lampc.backend.models.checkpoint import Checkpoint
from lampc.backend.models.fields import Fields
from lampc.backend.models.registry import Model, resolve
from lampc.backend.models.rows import Rows
from lampc.backend.models.weights import Weights
from lampc.backend.native import shared_library
from lampc.backend.tokenizer import read_json

Text = tuple[list[int], list[float]]
"""Ids, and how much each counts."""


class Grouped(Rows):
    """Rounds weights with a scale per `group` of them along K, and computes in torch with what that gives."""

    def __init__(self, group: int) -> None:
        super().__init__(exact=False)
        self._group = group

    def layer(self, weight: torch.Tensor, bias: torch.Tensor | None, rounded: bool = True) -> Any:
        if not rounded:
            return super().layer(weight, bias, False)
        n, k = weight.shape
        groups = pad(weight, (0, -k % self._group)).view(n, -1, self._group)
        kept = decode(*encode(groups)).view(n, -1)[:, :k].to(weight.dtype)
        return super().layer(kept.contiguous(), bias)


def load(folder: Path, dtype: torch.dtype, rows: Rows) -> Model:
    path = folder / "config.json"
    config = read_json(path)
    source = Checkpoint(Fields(config, path), Weights(folder), torch.device("cpu"), dtype, rows)
    return resolve(config, path).load(source)


def logits(model: Model, ids: list[int]) -> torch.Tensor:
    """float32 [len(ids), vocab]."""

    def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in (q, k, v))
        return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)[0].transpose(0, 1)

    places = torch.arange(len(ids))
    return model.forward(torch.tensor(ids), places, attend, places)


def episodes(count: int) -> list[Text]:
    """What firefly was trained on, drawn anew."""
    sys.path.insert(0, str(ROOT / "tools"))
    from firefly.episodes import maker
    from firefly.tokenizer import build_tokenizer

    make_one, draw = maker(build_tokenizer())("numbers"), random.Random("weights in eight bits")
    return [make_one(draw, 512) for _ in range(count)]


def noise(count: int, vocab: int) -> list[Text]:
    draw = random.Random(0)
    return [([draw.randrange(8, vocab) for _ in range(200)], []) for _ in range(count)]


@dataclass
class Sums:
    """Of all places: errors of logits, their squares and those of the logits, equal choices; nats of each text."""

    error: float = 0.0
    most: float = 0.0
    squares: float = 0.0
    whole: float = 0.0
    count: int = 0
    places: int = 0
    same: int = 0

    def __post_init__(self) -> None:
        self.nats: list[tuple[float, float, float]] = []  # full, eight bits, weight

    def add(self, full: torch.Tensor, int8: torch.Tensor, text: Text) -> None:
        off = (int8 - full).abs()
        self.error += off.sum().item()
        self.most = max(self.most, off.max().item())
        self.squares += off.square().sum().item()
        self.whole += full.square().sum().item()
        self.count += off.numel()
        self.places += len(off)
        self.same += int((full.argmax(1) == int8.argmax(1)).sum())
        ids, weights = text
        if weights:
            wanted, weight = torch.tensor(ids[1:]).unsqueeze(1), torch.tensor(weights[1:])
            lost = [-(x[:-1].log_softmax(1).gather(1, wanted).squeeze(1) @ weight).item() for x in (full, int8)]
            self.nats.append((lost[0], lost[1], weight.sum().item()))

    def figures(self) -> dict[str, float]:
        out = {
            "error_mean": self.error / self.count,
            "error_max": self.most,
            "relative": math.sqrt(self.squares / self.whole),
            "argmax": self.same / self.places,
        }
        total = sum(w for _, _, w in self.nats)
        if total:
            lost = sum(b - a for a, b, _ in self.nats) / total
            spare = [b - a - lost * w for a, b, w in self.nats]
            error = math.sqrt(len(spare)) * statistics.stdev(spare) / total
            out |= {"nats": sum(a for a, _, _ in self.nats) / total, "lost": lost, "lost_error": error}
        return out


@torch.inference_mode()
def quality(full: Model, other: Model, texts: list[Text]) -> dict[str, float]:
    sums = Sums()
    for text in texts:
        sums.add(logits(full, text[0]), logits(other, text[0]), text)
    return sums.figures()


def qualities(folder: Path, texts: list[Text], dtypes: list[str], groups: list[int]) -> dict[str, dict[str, float]]:
    """By name: what each way to round costs."""
    kernels, out = shared_library.load(), {}
    wide = load(folder, torch.float32, Rows(False, native=kernels))

    def against(full: Model, name: str, dtype: torch.dtype, rows: Rows) -> Model:
        other = load(folder, dtype, rows)
        out[name] = quality(full, other, texts)
        report(name, out[name])
        return other

    for dtype in dtypes:
        number, full = getattr(torch, dtype), wide
        if number is not torch.float32:
            full = against(wide, f"{dtype} itself", number, Rows(False, native=kernels))
        against(full, f"{dtype}, int8", number, Rows(False, native=kernels, int8=True))
    for group in groups:
        against(wide, f"float32, groups of {group}", torch.float32, Grouped(group))
    return out


def one_stream(folder: Path, dtype: str, args: argparse.Namespace) -> dict[str, list[float]]:
    """Tokens per second of one request, after its prompt."""
    clock = time.thread_time if args.threads == 1 else time.perf_counter
    engines = {w: load_engine(folder, dtype=dtype, weight_dtype=w, kv_tokens=2048) for w in ("auto", "int8")}

    def decoded(engine: TokenEngine) -> float:
        request = Request(tuple(range(8, 72)), Sampling(max_tokens=args.new + 1, ignore_eos=True))
        handle = engine.submit(request)
        engine.step()  # the prompt, and the first token
        begun = clock()
        engine.run()
        taken: float = clock() - begun
        assert handle.completion is not None
        return float(args.new / taken)

    def measure(engine: TokenEngine) -> Any:
        return lambda: decoded(engine)

    found = in_turns({name: measure(engine) for name, engine in engines.items()}, args.rounds)
    for engine in engines.values():
        engine.close()
    return found


def memory(folder: Path, dtype: str, weight_dtype: str) -> dict[str, float]:
    """MB of its own that a process takes for loading, at most and in the end."""
    command = [sys.executable, __file__, "--loading", str(folder), dtype, weight_dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def loading(folder: str, dtype: str, weight_dtype: str) -> None:
    def own() -> float:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1.024e-3

    torch.set_num_threads(1)
    before, seen, done = own(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            seen.append(own() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    engine = load_engine(folder, dtype=dtype, weight_dtype=weight_dtype, kv_tokens=256)  # type: ignore[arg-type]
    done.set()
    watcher.join()
    print(json.dumps({"peak_mb": max(seen), "loaded_mb": own() - before}))
    engine.close()


def report(name: str, found: dict[str, float]) -> None:
    more = ""
    if "nats" in found:
        more = f"; {found['nats']:.4f} nats, {found['lost']:+.4f} ± {found['lost_error']:.4f} lost"
    print(
        f"  {name}: logits off by {found['error_mean']:.3g} on average, {found['error_max']:.3g} at most, "
        f"{found['relative']:.2%} of their norm; {found['argmax']:.2%} the same likeliest token{more}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Weights in eight bits against weights in full precision.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--layers", type=int, default=QWEN["num_hidden_layers"], help="of the random model")
    parser.add_argument("--dtype", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--groups", type=int, nargs="*", default=[128, 64])
    parser.add_argument("--loading", nargs=3, help=argparse.SUPPRESS)
    for name, value in (("episodes", 200), ("prompts", 6), ("new", 64), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    if args.loading:
        return loading(*args.loading)
    torch.set_num_threads(args.threads)
    from lampc.runtime.pool import firefly_folder

    shape = QWEN | {"num_hidden_layers": args.layers}
    random_one = qwen() if shape == QWEN else make(cache.folder("models") / f"qwen-{args.layers}-layers-random", shape)
    models = {firefly_folder(): episodes(args.episodes), random_one: noise(args.prompts, QWEN["vocab_size"])}
    about = machine("torch")
    print(f"{about['processor']}, {args.threads} threads, load {about['load']}")
    out: dict[str, Any] = {}
    for folder, texts in models.items():
        print(f"{folder.name}: {sum(len(ids) for ids, _ in texts):,} places in {len(texts)} texts")
        found: dict[str, Any] = {"quality": qualities(folder, texts, args.dtype, args.groups)}
        out[folder.name] = found
        for dtype in args.dtype:
            taken = {w: memory(folder, dtype, w) for w in ("auto", "int8")}
            speeds = one_stream(folder, dtype, args)
            ratio = median([b / a for a, b in zip(speeds["auto"], speeds["int8"], strict=True)])
            found[dtype] = {"memory": taken, "tokens_s": {k: median(v) for k, v in speeds.items()}, "speed": ratio}
            cells = [f"{taken[w]['loaded_mb']:,.0f} MB (loading {taken[w]['peak_mb']:,.0f})" for w in ("auto", "int8")]
            print(f"  {dtype}: {cells[0]}, {cells[1]} in int8")
            both = f"{spread(speeds['auto'])} tokens/s, {spread(speeds['int8'])} in int8: {ratio:.2f}x"
            print(f"  {dtype}, one stream: {both}", flush=True)
    options = {name: str(value) for name, value in vars(args).items() if name != "loading"}
    print(f"appended to {append('weights_int8', {'machine': about, 'options': options, 'models': out})}")
    return None


if __name__ == "__main__":
    main()
