"""What keeping a grammar costs in a step, and how many steps it saves against what the schema lets one expect.

    python benchmarks/structured.py [--requests 1 16] [--temperatures 0 1] [--threads 1 2] [--tokens 48] [--rounds 80]
                                    [--skip-large]

Cost: the same requests decode with no grammar, within free text, and within a JSON string, in turns on one engine. The
time of a round's first, second, ... step, by the wall, is the least of all rounds, since other work on the machine can
only add to it; of these steps the median is a step's time, and the mean says what the dear ones add. On firefly (2,880
ids) and on a model of the shape of Qwen2.5-0.5B with random weights (0.39 B parameters, 32,000 ids, bfloat16), which
has a twentieth of the rounds. Beside it stands what llguidance alone takes: the same steps without a grammar, after
each of which bare matchers go on with the tokens of the answers, say what must follow and whether that is all. An
engine that asks it these things takes no less.

Saving: `steps` were drawn for answers of `tokens` tokens. Expected from the schema alone: a step for each value of a
closed set, one for each token of a text or number and one for its end, none for anything else.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from _common import append, machine

from lampc.backend import Request, Sampling, TextTokenizer, TokenEngine, load_engine
from lampc.backend.grammar.compiled import Grammars
from lampc.backend.grammar.texts import json_schema
from lampc.runtime.pool import firefly_folder

GOAL = 5.0
"""Percent of a step."""
STATES = {
    "free text": r"start: /(?s:.*)\n\n\[\[ ## completed ## \]\]/" + "\n",
    "JSON string": r'start: "\"" /[^"\\\x00-\x1f]{2000,}/ "\""' + "\n",
}
"""Grammars in which a request stays for long: no end may be drawn in them yet."""


def main() -> int:
    """Measures, prints, appends; 1 if the goal is missed."""
    args = _arguments()
    folders = {"firefly": firefly_folder()}
    if not args.skip_large:
        from engine_bench.model import qwen

        folders["0.39B"] = qwen()
    result: dict[str, Any] = {"machine": machine("torch", "llguidance"), "cost": [], "saved": []}
    worst = 0.0
    for name, folder in folders.items():
        engine = load_engine(folder, dtype="bfloat16" if name == "0.39B" else "float32", kv_tokens=1 << 14)
        for requests in args.requests:
            rounds = args.rounds if name == "firefly" else -(-args.rounds // 20)
            for threads, temperature in itertools.product(args.threads, args.temperatures):
                torch.set_num_threads(threads)
                for state, found in cost(engine, requests, temperature, args.tokens, rounds).items():
                    worst = max(worst, found["percent"])
                    case = f"{requests:3} requests  {threads} threads  T = {temperature:g}  {state:12}"
                    told = f"{found['plain_ms']:8.3f} -> {found['kept_ms']:8.3f} ms  {found['percent']:+.1f} %"
                    more = f"(mean {found['mean_percent']:+.1f} %, llguidance alone {found['floor_percent']:+.1f} %)"
                    print(f"{name:8} {case} {told}  {more}", flush=True)
                    row = {"model": name, "requests": requests, "threads": threads, "temperature": temperature}
                    result["cost"].append(row | {"state": state} | found)
        for form, counts in saved(engine).items():
            tokens, steps, expected = counts["tokens"], counts["steps"], counts["expected"]
            shares = {"saved": 100 * (1 - steps / tokens), "expected_saved": 100 * (1 - expected / tokens)}
            said = " % saved, ".join(f"{share:.0f}" for share in shares.values())
            print(f"{name:8} {form:10} {tokens:5} tokens in {steps:4} steps: {said} % expected")
            result["saved"].append({"model": name, "form": form, **counts, **shares})
        engine.close()
    result["goal_percent"], result["worst_percent"] = GOAL, worst
    append("structured", result)
    print(f"worst: {worst:+.1f} % of a step; the goal is under {GOAL} %")
    return int(worst >= GOAL)


def cost(
    engine: TokenEngine, requests: int, temperature: float, tokens: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Milliseconds of a step without a grammar and with it, and by how many percent their medians and means differ, by
    what the grammar is in; `floor_percent` is what llguidance alone adds."""
    times: dict[tuple[str, str], list[list[float]]] = {}
    for turn in range(rounds + 1):
        for state, grammar in {"none": None, **STATES}.items():
            found, answers = _round(engine, requests, temperature, tokens, grammar)
            bare = [] if grammar is None else _round(engine, requests, temperature, tokens, None, (grammar, answers))[0]
            if turn:  # the first one warms up
                times.setdefault((state, "kept"), []).append(found)
                times.setdefault((state, "floor"), []).append(bare)
    least = {state: [1e3 * min(step) for step in zip(*found, strict=True)] for state, found in times.items()}
    out = {}
    for state in STATES:
        kept, plain = least[state, "kept"], least["none", "kept"][: len(least[state, "kept"])]
        floor, middle = least[state, "floor"][: len(kept)], statistics.median(plain)
        out[state] = {
            "plain_ms": middle,
            "kept_ms": statistics.median(kept),
            "percent": 100 * (statistics.median(kept) / middle - 1),
            "mean_percent": 100 * (statistics.fmean(kept) / statistics.fmean(plain) - 1),
            "floor_percent": 100 * (statistics.median(floor) / middle - 1),
        }
    return out


def _round(
    engine: TokenEngine,
    requests: int,
    temperature: float,
    tokens: int,
    grammar: str | None,
    beside: tuple[str, list[list[int]]] | None = None,
) -> tuple[list[float], list[list[int]]]:
    """Seconds of the steps in which all requests decode, up to the first that ends, and the answers; a grammar
    `beside` goes on with known answers meanwhile."""
    engine.reset_cache()
    handles = []
    sampling = Sampling(temperature, max_tokens=tokens, ignore_eos=grammar is None)
    for i in range(requests):
        prompt = tuple(100 + (7 * i + 3 * at) % 900 for at in range(32))
        handles.append(engine.submit(Request(prompt, sampling, i, grammar=grammar)))
    columns = iter(() if beside is None else _columns(engine, *beside))
    steps = []
    while not any(handle.completion for handle in handles):
        column = next(columns, ())
        begun = time.perf_counter()
        engine.step()
        for matcher, token in column:
            matcher.try_consume_tokens([token])
            matcher.compute_ff_tokens()
            matcher.is_stopped()
        steps.append(time.perf_counter() - begun)
    engine.run()
    return steps[4:-1], [list(h.completion.tokens) for h in handles if h.completion is not None]


def _columns(engine: TokenEngine, grammar: str, answers: list[list[int]]) -> list[list[tuple[Any, int]]]:
    """By step the matchers and the tokens that they go on with."""
    first = Grammars(engine.tokenizer, engine.info.vocab_size)._reading(grammar).inner
    known = len(first.compute_ff_tokens())
    matchers = [first.deep_copy() for _ in answers]
    for matcher, answer in zip(matchers, answers, strict=True):
        matcher.consume_tokens(answer[:known])
    count = min(map(len, answers)) - known
    return [[(m, a[known + at]) for m, a in zip(matchers, answers, strict=True)] for at in range(count)]


FORMS: dict[str, dict[str, Any]] = {
    "classify": {"label": {"enum": ["billing", "account", "delivery", "refund"]}, "sure": {"type": "boolean"}},
    "extract": {
        "name": {"type": "string", "minLength": 4, "maxLength": 12},
        "age": {"type": "integer", "minimum": 100, "maximum": 999},
        "city": {"enum": ["Paris", "Oslo", "Rome"]},
    },
    "flags": {f"is_{n}": {"type": "boolean"} for n in ("open", "late", "paid", "sent", "new", "kept")},
}


def saved(engine: TokenEngine, draws: int = 24) -> dict[str, dict[str, int]]:
    """Tokens, steps and expected steps of answers in each form."""
    out = {}
    for form, properties in FORMS.items():
        schema = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
        grammar = json_schema(schema)
        sampling = Sampling(1.0, max_tokens=200)
        before = engine.stats().generated_tokens
        handles = [engine.submit(Request((100, 101, 102), sampling, key, grammar=grammar)) for key in range(draws)]
        engine.run()
        done = [h.completion for h in handles if h.completion is not None]
        assert all(c.finish == "stop" for c in done)
        out[form] = {
            "tokens": sum(len(c.tokens) for c in done),
            "steps": engine.stats().generated_tokens - before,
            "expected": sum(_expected(json.loads(c.text), properties, engine.tokenizer) for c in done),
        }
    return out


def _expected(value: dict[str, Any], properties: dict[str, Any], tokenizer: TextTokenizer) -> int:
    steps = 0
    for name, schema in properties.items():
        free = "enum" not in schema and schema["type"] != "boolean"
        steps += len(tokenizer.encode(str(value[name]))) + 1 if free else 1
    return steps


def _arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, torch.get_num_threads()}))
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=80)
    parser.add_argument("--skip-large", action="store_true", help="firefly alone")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
