"""The package that docs/adding-a-model.md writes: installed by pip, run, and held to what models promise."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from lampc.backend.errors import BackendError, Unsupported
from lampc.backend.load import load_engine
from lampc.backend.models.registry import architectures
from lampc.backend.request import Request, Sampling
from tests.backend.checkpoints import save_tokenizer, train_tokenizer
from tests.backend.test_exact import finish
from tests.backend.test_models import our_logits, prompt
from tests.backend.test_models_exact import needle

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "architectures": ["ToyForCausalLM"],
    "activation": "relu_squared",
    "vocab_size": 300,
    "num_layers": 2,
    "num_heads": 3,
    "head_dim": 8,
    "width": 20,
    "max_position_embeddings": 256,
}


def block(language: str, number: int = 0) -> str:
    text = (ROOT / "docs" / "adding-a-model.md").read_text(encoding="utf-8")
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return found[number]


def weights() -> dict[str, torch.Tensor]:
    noise = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"embed.weight": (300, 20), "norm.weight": (20,)}
    for i in range(2):
        at = f"blocks.{i}"
        shapes |= {f"{at}.{name}.weight": (24, 20) for name in "qkv"}
        shapes |= {f"{at}.norm.weight": (20,), f"{at}.o.weight": (20, 24)}
        shapes |= {f"{at}.up.weight": (80, 20), f"{at}.up.bias": (80,)}
        shapes |= {f"{at}.down.weight": (20, 80), f"{at}.down.bias": (20,)}
    return {name: 0.3 * torch.randn(shape, generator=noise) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the toy."""
    path = tmp_path_factory.mktemp("toy")
    (path / "config.json").write_text(json.dumps(CONFIG))
    save_file(weights(), path / "model.safetensors")
    save_tokenizer(path, train_tokenizer(300))
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has put the package, without a network."""
    source, target = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("site")
    (source / "lampc_toy.py").write_text(block("python"))
    (source / "pyproject.toml").write_text(block("toml"))
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *offline, "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package in this process too."""
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("lampc_toy", None)


def toy(ids: list[int]) -> torch.Tensor:
    """The toy once more, in the plainest way: logits [n, 300] of one sequence."""
    w, places = weights(), torch.arange(len(ids)).float()
    angles = torch.outer(places, 10000.0 ** -(torch.arange(4) / 4))
    turn = torch.polar(torch.ones_like(angles), angles)

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x, (20,), weight, 1e-6)

    def turned(x: torch.Tensor) -> torch.Tensor:
        pairs = torch.complex(*x.view(3, -1, 2, 4).unbind(2)) * turn
        return torch.cat([pairs.real, pairs.imag], -1)

    x = w["embed.weight"][ids]
    for i in range(2):
        b = {name.removeprefix(f"blocks.{i}."): tensor for name, tensor in w.items() if name.startswith(f"blocks.{i}.")}
        y = norm(x, b["norm.weight"])
        q, k, v = ((y @ b[f"{name}.weight"].t()).view(-1, 3, 8).transpose(0, 1) for name in "qkv")
        mixed = functional.scaled_dot_product_attention(
            turned(q.contiguous()), turned(k.contiguous()), v, is_causal=True
        )
        inner = functional.linear(y, b["up.weight"], b["up.bias"]).relu() ** 2
        x = x + mixed.transpose(0, 1).reshape(-1, 24) @ b["o.weight"].t()
        x = x + functional.linear(inner, b["down.weight"], b["down.bias"])
    return norm(x, w["norm.weight"]) @ w["embed.weight"].t()


def test_an_installed_package_adds_an_architecture(site: Path, folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(block("python", 1))
    paths = [str(site), str(ROOT / "src")]
    run = [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}; exec(open({str(script)!r}).read())"]
    done = subprocess.run([*run, str(folder)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    ids = [5, 6, 7]
    for _ in range(12):
        ids.append(int(toy(ids)[-1].argmax()))
    assert list(ast.literal_eval(done.stdout)) == ids[3:]


@pytest.mark.usefixtures("installed")
def test_logits_equal_the_reference(folder: Path) -> None:
    assert "ToyForCausalLM" in architectures()
    ids = prompt(150)
    torch.testing.assert_close(our_logits(folder, ids), toy(ids), atol=1e-4, rtol=0)


@pytest.mark.usefixtures("installed")
def test_the_example_is_exact(folder: Path) -> None:
    needle(folder, [40])
    asked = [Request(tuple(prompt(n, seed=n)), Sampling(max_tokens=5, ignore_eos=True), key=n) for n in (1, 30, 90)]
    expected = [c.tokens for c in finish(load_engine(folder, kind="naive"), asked)]
    for options in ({"chunk": 3}, {"prefix_cache": False}, {"kv_tokens": 160, "block_size": 4}):
        engine = load_engine(folder, **({"kv_tokens": 1000} | options))  # type: ignore[arg-type]
        assert [c.tokens for c in finish(engine, asked)] == expected


@pytest.mark.usefixtures("installed")
def test_what_the_example_refuses(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"activation": "gelu"}))
    with pytest.raises(Unsupported, match="activation is 'gelu'; supported here: 'relu_squared'"):
        load_engine(tmp_path)


@pytest.mark.usefixtures("installed")
def test_plugins_that_cannot_be_used(site: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def plugin(name: str, value: str) -> None:
        info = tmp_path / name / f"{name}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[lampc.models]\n{value}\n")
        monkeypatch.syspath_prepend(str(tmp_path / name))

    plugin("second", "ToyForCausalLM = other_toy:Toy")
    with pytest.raises(BackendError, match="several plug-ins add 'ToyForCausalLM': lampc_toy:Toy, other_toy:Toy"):
        load_engine(folder)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(site)])
    with pytest.raises(BackendError, match="other_toy:Toy for 'ToyForCausalLM' cannot be imported: No module"):
        load_engine(folder)
