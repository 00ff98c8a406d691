"""1, 2 and 4 ranks: the same bits for every architecture, by every way of summing, and what is read and sent for it."""

import json
import re
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from lampc.backend.errors import Unsupported
from lampc.backend.load import load_engine
from lampc.backend.parallel import group, join, team
from lampc.backend.parallel.decoder import ShardedDecoder
from lampc.backend.parallel.settings import Settings
from lampc.backend.parallel.shards import VIRTUAL
from lampc.backend.parallel.topology import Link, Way, bytes_sent
from lampc.backend.reads import StepReads, watch_reads
from lampc.backend.request import Request, Sampling
from tests.backend.architectures import EVERY, save
from tests.backend.checkpoints import save_checkpoint
from tests.backend.parallel.ranks import Noted, load, threads, two_nodes
from tests.backend.test_exact import finish
from tests.backend.test_models_exact import KV, answers, requests

__all__ = ["threads"]
ARCHITECTURES = ["llama", "mistral", "qwen2", "qwen3", "gpt2", "mixtral", "qwen3_moe", "gemma3", "phi3", "olmo2"]
MORE = [name for name in EVERY if name not in ARCHITECTURES]


def same_bits(folder: Path, counts: tuple[int, ...] = (1, 2, 4), **options: Any) -> list[tuple[Any, ...]]:
    asked, found = requests(), []
    for ranks in counts:
        engine = load(folder, ranks, kv_tokens=KV, **options)
        found.append(answers(finish(engine, asked)))
        engine.close()
    assert all(other == found[0] for other in found)
    return found[0]


@pytest.mark.usefixtures("numerics", "threads")
@pytest.mark.parametrize("name", [*ARCHITECTURES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_any_number_of_ranks_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    folder = save(name, tmp_path)
    found = same_bits(folder, (1, 2) if name == "gpt2-inner" else (1, 2, 4))  # it has two heads
    # And the numbers of the unsplit engine, but for how they are rounded; of the first tokens: the rest depend on them.
    unsplit = load_engine(folder, kv_tokens=KV)
    for (_, _, ours), (_, _, theirs) in zip(found, answers(finish(unsplit, requests())), strict=True):
        assert ours[0] == pytest.approx(theirs[0], abs=2e-3)


@pytest.mark.usefixtures("numerics")
@pytest.mark.parametrize("numerics", ["native"], indirect=True)
def test_native_kernels_compute_what_lies_between_two_sums(tmp_path: Path) -> None:
    """One call each. Not so where experts, or sums within a layer, come between."""
    fused = {}
    for name in ("llama", "qwen3", "olmo2", "mixtral"):
        engine = load(save(name, tmp_path / name), 1, kv_tokens=KV)
        model = engine.parallel.share._model
        fused[name] = isinstance(model, ShardedDecoder) and model._fused is not None
        engine.close()
    assert fused == {"llama": True, "qwen3": True, "olmo2": False, "mixtral": False}


@pytest.mark.usefixtures("numerics", "threads")
@pytest.mark.parametrize(
    ("numerics", "options"),
    [
        ("torch", {"dtype": "bfloat16"}),
        ("native", {"dtype": "bfloat16"}),
        ("native", {"kv_dtype": "int8"}),
        ("native", {"chunk": 5}),
    ],
    indirect=["numerics"],
)
def test_in_other_numbers_too(options: dict[str, Any], tmp_path: Path) -> None:
    same_bits(save("qwen2", tmp_path), (1, 4), **options)


@pytest.mark.usefixtures("threads")
def test_eight_ranks(tmp_path: Path) -> None:
    same_bits(save_checkpoint(tmp_path, num_attention_heads=8, head_dim=4), (1, 8))


@pytest.mark.usefixtures("numerics")
@pytest.mark.parametrize(("numerics", "name"), [("torch", "gpt2"), ("native", "qwen2")], indirect=["numerics"])
def test_half_batches_have_the_same_bits(
    name: str, threads: list[Noted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(name, tmp_path)
    expected = same_bits(folder, (1,))
    for least, chunk in ((2, 40), (6, None)):
        monkeypatch.setattr(team, "Settings", partial(Settings, halve_from=least))
        threads.clear()
        engine = load(folder, 2, kv_tokens=KV, chunk=chunk)
        assert answers(finish(engine, requests())) == expected
        engine.close()
        assert len(threads[0].steps) > 1.5 * engine.stats().steps
        for share in threads:
            assert share.group.sent == calculated(share, folder, 2, itemsize=4)


def test_ranks_tell_what_they_read_in_halves(
    threads: list[Noted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team, "Settings", partial(Settings, halve_from=6))
    engine = load(save("llama", tmp_path), 2, kv_tokens=KV)
    steps: list[StepReads] = []
    watch_reads(engine, steps.append)
    finish(engine, requests())
    engine.close()
    assert len(threads[0].steps) > engine.stats().steps == len(steps)  # halves, told as one step
    for step in steps:
        assert step.ranks == 2
        met: dict[tuple[int, int], list[int]] = {}
        for read in step.reads:
            for span, start, count in read.members:
                for position in range(start, start + count):
                    met.setdefault((span, position), []).extend(range(read.begin, read.end))
        wanted = {(i, p) for i, (_, start, count) in enumerate(step.spans) for p in range(start, start + count)}
        assert met.keys() == wanted
        assert all([key for key in sorted(keys) if key <= p] == list(range(p + 1)) for (_, p), keys in met.items())


@pytest.mark.usefixtures("threads")
def test_every_way_of_summing_gives_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, asked = save("llama", tmp_path), requests()
    expected = same_bits(folder, (1,))
    monkeypatch.setattr(group, "choose", lambda topology, size: "scatter")
    engine = load(folder, 4, kv_tokens=KV)
    assert answers(finish(engine, asked)) == expected
    assert engine.parallel.share.group.ways.keys() == {"scatter"}
    engine.close()
    monkeypatch.undo()


def test_two_nodes_sum_in_another_way(threads: list[Noted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, asked = save("llama", tmp_path), requests()
    expected = same_bits(folder, (1,))
    two_nodes(monkeypatch, 4)
    monkeypatch.setattr(join, "LOOPBACK", Link(1e-8, 1e12))  # much faster than the network between the two
    threads.clear()
    engine = load(folder, 4, kv_tokens=KV)
    assert answers(finish(engine, asked)) == expected
    assert engine.parallel.share.group.topology.nodes == (0, 0, 1, 1)
    assert engine.parallel.share.group.ways["hierarchical"] > 20
    engine.close()
    for share in threads:
        assert share.group.sent == calculated(share, folder, 4, itemsize=4)


def shape(folder: Path) -> tuple[int, int, int]:
    """Hidden size, layers, vocabulary."""
    c = json.loads((folder / "config.json").read_text())
    names = (("hidden_size", "n_embd"), ("num_hidden_layers", "n_layer"), ("vocab_size", "vocab_size"))
    hidden, layers, vocab = (int(c.get(a) or c[b]) for a, b in names)
    return hidden, layers, vocab


def joint(folder: Path) -> int:
    """Values of a row that ranks sum before all queries, and all keys, are normalised together."""
    c = json.loads((folder / "config.json").read_text())
    return c["num_attention_heads"] + c["num_key_value_heads"] if c["model_type"] == "olmo2" else 0


def width(size: int, rank: int, ranks: int) -> int:
    """Of `size`, as docs/tensor-parallel.md says it: from shard rank * 8 / ranks to the next rank's."""
    each = VIRTUAL // ranks
    return (rank + 1) * each * size // VIRTUAL - rank * each * size // VIRTUAL


def calculated(share: Noted, folder: Path, ranks: int, itemsize: int) -> int:
    """Bytes that a rank sends, as docs/tensor-parallel.md calculates them."""
    hidden, layers, vocab = shape(folder)
    topology, total = share.group.topology, 0
    for step in share.steps:
        rows = len(step.ids)
        sums = [(1, rows * hidden, itemsize), (2 * layers, rows * hidden, 4), (layers, rows * joint(folder), 4)]
        for times, values, size in sums:
            way: Way = group.choose(topology, values * size)
            total += times * bytes_sent(way, ranks, topology.local, values, size)
        if share.rank:
            total += len(step.wanted) * (8 if step.plain else width(vocab, share.rank, ranks) * 4)
    return total


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize(
    ("name", "dtype"), [("llama", "float32"), ("gpt2", "bfloat16"), ("qwen3_moe", "float32"), ("olmo2", "float32")]
)
def test_bytes_sent(name: str, dtype: str, ranks: int, threads: list[Noted], tmp_path: Path) -> None:
    folder = save(name, tmp_path)
    engine = load(folder, ranks, dtype=dtype, kv_tokens=KV)
    finish(engine, requests())
    engine.close()
    assert sorted(share.rank for share in threads) == list(range(ranks))
    hidden, layers, vocab = shape(folder)
    itemsize = 4 if dtype == "float32" else 2
    for share in threads:
        assert len(share.steps) >= engine.stats().steps
        assert share.group.sent == calculated(share, folder, ranks, itemsize)
        # The same again, written out for one node and small sums.
        rows, wanted = sum(len(s.ids) for s in share.steps), sum(len(s.wanted) for s in share.steps)
        sums = (ranks - 1) * rows * (hidden * (itemsize + 2 * layers * 4) + layers * joint(folder) * 4)
        assert share.group.sent == sums + (share.rank > 0) * wanted * width(vocab, share.rank, ranks) * 4


@pytest.mark.usefixtures("numerics")
def test_greedy_tokens_need_no_logits(threads: list[Noted], tmp_path: Path) -> None:
    """A rank sends a token and its logit for each row; the tokens are those of logits, and of one rank."""
    folder = save("llama", tmp_path)
    asked = [replace(request, sampling=Sampling(max_tokens=10, ignore_eos=True)) for request in requests()]
    plain = [replace(request, logprobs=False) for request in asked]
    for ranks in (1, 2, 4):
        threads.clear()
        engine = load(folder, ranks, kv_tokens=KV)
        expected = [c.tokens for c in finish(engine, asked)]
        assert not any(step.plain for share in threads for step in share.steps)
        before = len(threads[0].steps)
        engine.reset_cache()
        assert [c.tokens for c in finish(engine, plain)] == expected
        engine.close()
        for share in threads:
            assert all(step.plain for step in share.steps[before:])
            assert share.group.sent == calculated(share, folder, ranks, itemsize=4)


def test_the_first_of_the_largest_wins_over_ranks() -> None:
    def told(*rows: list[tuple[int, float]]) -> torch.Tensor:
        ids, tops = (torch.tensor([[pair[i] for pair in row] for row in rows]) for i in (0, 1))
        return torch.stack([ids.int(), tops.view(torch.int32)], dim=2)

    ids, tops = group.best(told([(3, 1.0), (1, -2.0), (0, 5.0)], [(7, 1.0), (9, -1.0), (8, 4.0)]))
    assert ids.tolist() == [3, 9, 0]  # of equals that of the lower rank, which is the lower id
    assert tops.tolist() == [1.0, -1.0, 5.0]
    _, tops = group.best(told([(3, float("nan"))], [(7, 1.0)]))
    assert tops.isnan().all()  # whoever reads it raises
    alone = group.Group().likeliest(torch.tensor([[0.0, 2.0, 2.0]]), [3])
    assert alone is not None
    assert (alone[0].tolist(), alone[1].tolist()) == ([1], [2.0])


SPLIT = {"embed_tokens.weight", "wte.weight", "lm_head.weight"}
SPLIT |= {f"{n}_proj.{kind}" for n in ("q", "gate", "up") for kind in ("weight", "bias")} | {"o_proj.weight"}
SPLIT |= {
    "gate_up_proj.weight",
    "down_proj.weight",
    "c_attn.weight",
    "c_attn.bias",
    "c_fc.weight",
    "c_fc.bias",
    "c_proj.weight",
}
KV_SPLIT = {f"{n}_proj.{kind}" for n in "kv" for kind in ("weight", "bias")}


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize(
    "name", ["llama", "llama-biases", "llama3", "qwen2", "gpt2", "mixtral", "qwen3_moe-some", "gemma2", "phi3", "olmo2"]
)
def test_bytes_read(name: str, ranks: int, threads: list[Noted], tmp_path: Path) -> None:
    folder = save(name, tmp_path)
    load(folder, ranks, kv_tokens=KV).close()
    _, _, vocab = shape(folder)
    c = json.loads((folder / "config.json").read_text())
    count, heads, kv_heads = (
        c.get(name, 0) for name in ("num_local_experts", "num_attention_heads", "num_key_value_heads")
    )
    for share in threads:
        own = range(share.rank * count // ranks, (share.rank + 1) * count // ranks)  # experts, each of them whole
        expected = 0
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            for tensor in file.keys():  # noqa: SIM118 - it is no dict
                nbytes, last = file.get_tensor(tensor).nbytes, ".".join(tensor.split(".")[-2:])
                if expert := re.search(r"\.experts\.(\d+)\.", tensor):
                    nbytes *= int(expert[1]) in own
                elif last == "qkv_proj.weight":
                    q, kv = heads * nbytes // (heads + 2 * kv_heads), kv_heads * nbytes // (heads + 2 * kv_heads)
                    nbytes = q // ranks + 2 * kv // min(ranks, kv_heads)
                elif last in KV_SPLIT:
                    nbytes //= min(ranks, kv_heads)  # several ranks read the same head where there are too few
                elif last in ("embed_tokens.weight", "wte.weight", "lm_head.weight"):
                    nbytes = nbytes // vocab * width(vocab, share.rank, ranks)
                elif last in SPLIT:
                    nbytes //= ranks
                expected += nbytes
        assert share.bytes_read == expected
        if name in ("llama", "llama3", "mixtral"):
            assert share.bytes_read == formula(folder, share.rank, ranks)


def formula(folder: Path, rank: int, ranks: int) -> int:
    """Bytes of float32 that a rank reads of a Llama without biases, as docs/tensor-parallel.md calculates them."""
    c = json.loads((folder / "config.json").read_text())
    hidden, inner = c["hidden_size"], c["intermediate_size"]
    layers, vocab = c["num_hidden_layers"], c["vocab_size"]
    dim = c["head_dim"] or hidden // c["num_attention_heads"]
    q, kv = c["num_attention_heads"] * dim, c["num_key_value_heads"]
    tables = width(vocab, rank, ranks) * hidden * (1 if c["tie_word_embeddings"] else 2)
    attention = 2 * q // ranks * hidden + 2 * max(1, kv // ranks) * dim * hidden
    mlp = 3 * width(inner, rank, ranks) * hidden
    if experts := c.get("num_local_experts"):
        mlp = width(experts, rank, ranks) * 3 * inner * hidden + experts * hidden
    return 4 * (tables + hidden + layers * (attention + mlp + 2 * hidden))


@pytest.mark.usefixtures("threads")
def test_ctrl_c_comes_between_steps(tmp_path: Path) -> None:
    engine = load(save("llama", tmp_path), 2, kv_tokens=KV)
    share, asked = engine.parallel.share, Request((5, 6, 7), Sampling(max_tokens=6, ignore_eos=True))
    expected = answers(finish(engine, [asked]))
    forward, struck = share._model.forward, [False]

    def interrupted(*args: Any) -> Any:
        if not struck[0]:
            struck[0] = True
            signal.raise_signal(signal.SIGINT)  # to this thread: another one might take it when the step is over
        return forward(*args)

    share._model.forward = interrupted  # type: ignore[method-assign]
    handle = engine.submit(asked)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    signal.signal(signal.SIGINT, before)
    engine.run()
    assert handle.completion is not None
    assert answers([handle.completion]) == expected
    engine.close()


def test_models_that_cannot_be_split(tiny: Path, tmp_path: Path) -> None:
    odd = save_checkpoint(tmp_path / "odd", num_attention_heads=6, num_key_value_heads=3, hidden_size=48)
    with pytest.raises(Unsupported, match="6 heads with 3 K/V heads cannot be split over 2 ranks"):
        load_engine(odd, tensor_parallel=2)
    narrow = save_checkpoint(tmp_path / "narrow", intermediate_size=6)
    with pytest.raises(Unsupported, match="intermediate_size 6 cannot be cut into 8 shards"):
        load_engine(narrow, tensor_parallel=1)
    for ranks in (0, 3, 16):
        with pytest.raises(ValueError, match=f"tensor_parallel is {ranks}; choose 1, 2, 4 or 8"):
            load_engine(tiny, tensor_parallel=ranks)
    with pytest.raises(ValueError, match="the naive engine has one rank"):
        load_engine(tiny, kind="naive", tensor_parallel=2)
    with pytest.raises(ValueError, match="device is 'cuda:1'; ranks take their GPUs by themselves"):
        load_engine(tiny, device="cuda:1", tensor_parallel=2)


def test_another_number_of_ranks_than_was_launched(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ValueError, match="tensor_parallel is 2, but the launcher has started 4 ranks"):
        load_engine(tiny, tensor_parallel=2)
