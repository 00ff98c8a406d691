"""Everything that a GPU is needed for, checked and timed, in under eight minutes: one JSON under benchmarks/results/.

    python benchmarks/gpu.py [--only NAME ...] [--small] [--out FILE]

Needs torch, triton, numpy, safetensors and tokenizers, nothing else; run it from a checkout. `docs/performance.md` says
how to read what it writes. Sections that would begin after `--minutes` are left out, and named. `--small`: shapes so
small that Triton's interpreter can do with them (TRITON_INTERPRET=1, no GPU): it shows that everything runs, no speed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

import torch  # noqa: E402
import triton  # noqa: E402
from _common import RESULTS, machine  # noqa: E402
from gpu_bench import attention, checks, models, products, swap, timing  # noqa: E402

from lampc.backend.kernels.paged import digest, interpreted  # noqa: E402
from lampc.backend.native.build import NoKernels  # noqa: E402


class Run:
    """What sections share: the device, sizes, and the rates measured first."""

    def __init__(self, small: bool) -> None:
        self.small = small
        self.device = torch.device("cpu" if interpreted() else "cuda")
        self.dtype = torch.float32 if small else torch.bfloat16
        self.rates: tuple[float, float] = (1.0, 1.0)
        self.heads = attention.Heads(4, 2, 64) if small else attention.Heads()

    def bench(self, slots: int) -> attention.Bench:
        """Attention over a cache of so many slots."""
        return attention.Bench(self.device, self.dtype, self.heads, slots, self.rates)

    def measure_rates(self) -> dict[str, Any]:
        """What the device can do at best."""
        copy = timing.copy_rate(self.device, 1 << 16 if self.small else 1 << 30)
        product = timing.product_rate(self.device, self.dtype, 64 if self.small else 8192)
        self.rates = copy, product
        return {"copy_bytes_per_s": copy, "product_flops_per_s": product}

    def kernels(self) -> dict[str, Any]:
        """Every kernel against its twin."""
        return checks.kernels(self.device, self.dtype)

    def same_bits(self) -> dict[str, Any]:
        """Exact mode: a request alone, among others, recorded and not."""
        return checks.same_bits(self.device, torch.float32 if self.small else torch.bfloat16)

    def firefly(self) -> dict[str, Any]:
        """The bundled model, as on the CPU."""
        return checks.firefly(self.device, self.small)

    def swap(self) -> dict[str, Any]:
        """K/V to host memory and back: bits, rates, and a prompt copied back against one computed."""
        return swap.swap(self.device, self.dtype, self.small)

    def decode_attention(self) -> dict[str, Any]:
        """Goal: 0.8 of the floor at batch 32 and 256, 2k and 8k tokens."""
        if self.small:
            return attention.decode(self.bench(256), [2], [40])
        return attention.decode(self.bench(1 << 21), [32, 256], [2048, 8192])

    def shared_prefix(self) -> dict[str, Any]:
        """Goal: 64 requests over 4,096 tokens at least 5 times as fast as each reading for itself."""
        if self.small:
            return attention.shared(self.bench(512), 6, 256, 8)
        return attention.shared(self.bench(1 << 14), 64, 4096, 64)

    def prefill_attention(self) -> dict[str, Any]:
        """Goal: 0.6 of the product rate at 8k tokens."""
        return attention.prefill(self.bench(128 if self.small else 1 << 14), 48 if self.small else 8192)

    def exact_products(self) -> dict[str, Any]:
        """Goal: within 1.5 times torch's own, which looks at no bits, for any number of rows."""
        rows = [1, 128] if self.small else [1, 32, 128, 512, 2048]
        return products.products(self.device, self.dtype, rows, self.rates, self.small)

    def qwen3_06b(self) -> dict[str, Any]:
        """Goal: 0.5 of the copy rate at batch 1."""
        return self._model(models.TINY if self.small else models.QWEN3_06B, [1], True)

    def llama_8b(self) -> dict[str, Any]:
        """Goals: 0.8 of the copy rate at batch 1 and 32; exact mode under 1.1 times fast mode; busy over 0.95."""
        config, batches = (models.TINY, [2]) if self.small else (models.LLAMA_8B, [1, 32])
        exact, fast = (self._model(config, batches, mode) for mode in (True, False))
        price = {what: exact[what]["seconds"] / fast[what]["seconds"] for what in exact}
        return {"exact": exact, "fast": fast, "exact_over_fast": price}

    def _model(self, config: dict[str, Any], batches: list[int], exact: bool) -> dict[str, Any]:
        context, count = (24, 3) if self.small else (512, 48)
        made, size = models.engine(config, self.device, self.dtype, exact, 512 if self.small else 1 << 15)
        found = {}
        for batch in batches:
            one = models.steps(made, batch, context, count)
            read = size + batch * (context + count // 2) * models.kv_bytes(config, self.dtype)
            found[str(batch)] = {**one, "bytes": read, "share_of_copy": read / self.rates[0] / one["seconds"]}
        length = 48 if self.small else 4096
        flops = length * size // self.dtype.itemsize * 2
        took = models.prompt(made, length)
        found["prompt"] = {"seconds": took, "tokens": length, "share_of_product_rate": flops / self.rates[1] / took}
        made.close()
        return found


_SECTIONS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "rates": Run.measure_rates,
    "kernels": Run.kernels,
    "same_bits": Run.same_bits,
    "firefly": Run.firefly,
    "swap": Run.swap,
    "decode_attention": Run.decode_attention,
    "shared_prefix": Run.shared_prefix,
    "prefill_attention": Run.prefill_attention,
    "exact_products": Run.exact_products,
    "qwen3_06b": Run.qwen3_06b,
    "llama_8b": Run.llama_8b,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(_SECTIONS), help="these sections, after the rates")
    parser.add_argument("--small", action="store_true", help="tiny shapes, for the interpreter")
    parser.add_argument("--minutes", type=float, default=7.0, help="no section begins later (default: 7)")
    parser.add_argument("--out", type=Path, help="the file to write (default: by the device's name)")
    args = parser.parse_args()
    if interpreted() and not args.small:
        parser.error("Triton's interpreter is on, where figures mean nothing; add --small, or unset TRITON_INTERPRET")
    if not interpreted() and not torch.cuda.is_available():
        parser.error("torch sees no GPU; TRITON_INTERPRET=1 with --small shows that everything runs")
    try:
        digest(torch.device("cpu" if interpreted() else "cuda"))
    except NoKernels as error:
        parser.error(str(error))
    run, begun = Run(args.small), time.perf_counter()
    name = "interpreter" if interpreted() else torch.cuda.get_device_name()
    report: dict[str, Any] = {"device": name, "machine": machine("torch", "triton", "numpy"), "small": args.small}
    out = args.out or RESULTS / f"gpu-{name.lower().replace(' ', '-')}.json"
    failed = False
    for title, section in _SECTIONS.items():
        if args.only and title not in ("rates", *args.only):
            continue
        if time.perf_counter() - begun > 60 * args.minutes:
            report[title] = {"left_out": f"{args.minutes:g} minutes were over"}
            continue
        print(f"{title} ...", flush=True)
        started = time.perf_counter()
        try:
            report[title] = section(run)
        except Exception as error:  # the other sections are worth having
            report[title] = {"error": f"{type(error).__name__}: {error}"}
            failed = True
        report[title]["took_s"] = round(time.perf_counter() - started, 2)
        print(json.dumps(report[title], indent=1), flush=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    failed = failed or any(
        not ok for title in ("kernels", "same_bits", "firefly", "swap") for ok in _verdicts(report.get(title, {}))
    )
    verdict = "something failed" if failed else "all is well"
    print(f"{out}: {verdict}, {time.perf_counter() - begun:.0f} s; triton {triton.__version__}")
    return int(failed)


def _verdicts(found: dict[str, Any]) -> list[bool]:
    return [value for value in found.values() if isinstance(value, bool)]


if __name__ == "__main__":
    raise SystemExit(main())
