"""What speculation saves, by workload: the same requests on two engines, with and without, in turns.

    python benchmarks/speculation.py [--requests 1 4] [--tokens 120] [--rounds 3] [--skip-large]

Everything is computed, but what is written is an answer of the workload, whatever the model would say: how often
guesses are right hangs on texts and tokenizer, what rows cost on the model. On firefly and on a model of the shape of
Qwen2.5-0.5B with random weights (0.39 B parameters, bfloat16). Texts are this repository's own pages and code. Seconds
are CPU seconds from the first token on, the least of all rounds.

`extraction` copies sentences out of a page, `rewriting` a page with other words here and there, `quoting` answers with
a sentence of each of three passages, `edit` gives a file back in which a name is another, `json` lists fields of
records.
`story` writes what stands nowhere in its prompt, `labels` the same few words about ever other things.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from typing import Any

from _common import ROOT, append, machine

from lampc.backend import Request, Sampling, TokenEngine, load_engine
from lampc.backend.simulated import Script, play
from lampc.runtime.pool import firefly_folder

COPYING = ("extraction", "rewriting", "quoting", "edit", "json")


def workloads() -> dict[str, list[tuple[str, str]]]:
    """Prompts and answers by workload."""
    page, other = _paragraphs("engine.md"), _paragraphs("language.md")
    code = (ROOT / "backend" / "speculation" / "guess.py").read_text(encoding="utf-8").split("\n\n")
    out: dict[str, list[tuple[str, str]]] = {}
    out["extraction"] = [
        (f"{text}\n\nThe sentences that matter, one a line:\n", "\n".join(_sentences(text)[::2])) for text in page
    ]
    swaps = {"the": "each", "is": "was", "that": "which", "of": "from"}
    out["rewriting"] = [(f"{text}\n\nIn other words:\n", _swapped(text, swaps)) for text in page]
    out["quoting"] = [
        (
            "\n\n".join(page[i : i + 3]) + "\n\nWhat do the passages say?\n",
            " ".join(f'Passage {n} says: "{_sentences(page[i + n])[0]}"' for n in range(3)),
        )
        for i in range(len(page) - 3)
    ]
    out["edit"] = [
        (f"{part}\n\nThe same with `self` called `this`:\n", part.replace("self", "this"))
        for part in ("\n\n".join(code[i : i + 3]) for i in range(2, len(code) - 3))
    ]
    words = [re.findall(r"[a-z]{4,}", text) for text in page]
    records = [[(w[3 * i], w[3 * i + 1], w[3 * i + 2]) for i in range(8)] for w in words if len(w) > 24]
    out["json"] = [
        (
            "\n".join(f"{name} of {place}, {job}" for name, place, job in rows) + "\n\nAs JSON:\n",
            ", ".join(f'{{"name": "{a}", "place": "{b}", "job": "{c}"}}' for a, b, c in rows),
        )
        for rows in records
    ]
    out["story"] = [(f"{a[:300]}\n\nTell me about something else:\n", b) for a, b in zip(page, other, strict=False)]
    out["labels"] = [
        (f"{text}\n\nOf each word: short or long?\n", " ".join("long" if len(w) > 6 else "short" for w in text.split()))
        for text in other
    ]
    return out


def _paragraphs(name: str) -> list[str]:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    return [part[:900] for part in parts if len(part) > 400 and part[0].isalpha()]


def _sentences(text: str) -> list[str]:
    return [s for s in re.split(r"(?<=[.:;]) ", text) if s]


def _swapped(text: str, swaps: dict[str, str]) -> str:
    return " ".join(swaps.get(word, word) for word in text.split(" "))


class Rival:
    """An engine that writes what it is told to."""

    def __init__(self, folder: Any, dtype: str, speculative: Any) -> None:
        self.engine: TokenEngine = load_engine(folder, dtype=dtype, kv_tokens=1 << 14, speculative=speculative)
        self._script: Script = play(self.engine)

    def run(self, texts: Sequence[tuple[str, str]], tokens: int) -> tuple[float, int, int]:
        """CPU seconds, steps and tokens of requests from the first token on."""
        self.engine.reset_cache()
        handles, encode = [], self.engine.tokenizer.encode
        for prompt, answer in texts:
            wanted = encode(answer)[:tokens]
            room = self.engine.info.context_length - len(wanted)
            sampling = Sampling(max_tokens=len(wanted), ignore_eos=True)
            handles.append(self.engine.submit(Request(tuple(encode(prompt)[-min(400, room) :]), sampling)))
            self._script.add(handles[-1].id, wanted)
        while not all(handle.sent for handle in handles):
            self.engine.step()
        before, begun = self.engine.stats(), time.process_time()
        self.engine.run()
        seconds, after = time.process_time() - begun, self.engine.stats()
        assert all(h.completion is not None and h.completion.finish == "length" for h in handles)
        return seconds, after.steps - before.steps, after.generated_tokens - before.generated_tokens


def main() -> int:
    """Measures, prints, appends."""
    args = _arguments()
    folders = {"firefly": firefly_folder()}
    if not args.skip_large:
        from engine_bench.model import qwen

        folders["0.39B"] = qwen()
    result: dict[str, Any] = {"machine": machine("torch"), "rows": []}
    for model, folder in folders.items():
        dtype = "float32" if model == "firefly" else "bfloat16"
        off, on = Rival(folder, dtype, None), Rival(folder, dtype, "ngram")
        for requests in args.requests:
            for name, texts in workloads().items():
                row = compare(off, on, texts[:requests], args.tokens, args.rounds)
                result["rows"].append({"model": model, "requests": requests, "workload": name, **row})
                told = f"{row['accepted']:4.0%} of {row['drafted_per_token']:4.2f} guesses a token right"
                steps = f"{row['tokens_per_step']:4.2f} tokens a step"
                print(f"{model:8} {requests:3} {name:11} {told}, {steps}, {row['gain']:5.2f}x", flush=True)
        off.engine.close()
        on.engine.close()
    append("speculation", result)
    return 0


def compare(off: Rival, on: Rival, texts: Sequence[tuple[str, str]], tokens: int, rounds: int) -> dict[str, float]:
    """What guesses came to, and the least time without over that with them."""
    times: dict[Rival, list[float]] = {off: [], on: []}
    before = on.engine.stats()
    steps = written = 0
    for _ in range(rounds):
        for rival, found in times.items():
            seconds, took, count = rival.run(texts, tokens)
            found.append(seconds)
            if rival is on:
                steps, written = steps + took, written + count
    stats = on.engine.stats()
    drafted, right = stats.drafted_tokens - before.drafted_tokens, stats.accepted_tokens - before.accepted_tokens
    return {
        "off_s": min(times[off]),
        "on_s": min(times[on]),
        "gain": min(times[off]) / min(times[on]),
        "accepted": right / drafted if drafted else 0.0,
        "drafted_per_token": drafted / written,
        "tokens_per_step": written / steps / len(texts),
    }


def _arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--tokens", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-large", action="store_true", help="firefly alone")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
