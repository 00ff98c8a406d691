"""Random schemas, a random model: whatever it writes is JSON that the schema takes."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lampc.backend.errors import BadGrammar
from lampc.backend.grammar.texts import json_schema
from lampc.backend.load import load_engine
from lampc.backend.request import Handle, Request, Sampling
from tests.backend.schemas import schema

FEW, MANY, TOGETHER = 120, 10_000, 48


def check(folder: Path, seeds: range) -> Counter[str]:
    """Each schema by a request; how these ended. Fails at an output that is wrong."""
    engine = load_engine(folder, max_running=TOGETHER, kv_tokens=1 << 15)
    counts: Counter[str] = Counter()
    running: dict[int, dict[str, Any]] = {}
    left: Iterator[int] = iter(seeds)
    while True:
        while len(running) < TOGETHER and (seed := next(left, None)) is not None:
            rng = random.Random(seed)
            wanted = schema(rng)
            sampling = Sampling(rng.choice([0.0, 0.7, 1.5]), max_tokens=240)
            prompt = tuple(rng.randrange(290) for _ in range(rng.randint(1, 9)))
            try:
                handle = engine.submit(Request(prompt, sampling, rng.getrandbits(64), grammar=json_schema(wanted)))
            except BadGrammar as error:  # nothing fits: allOf of what excludes each other, for instance
                if "Unsatisfiable" not in str(error):
                    raise
                counts["refused"] += 1
                continue
            running[handle.id] = {"seed": seed, "schema": wanted}
        if not running:
            break
        for done in engine.step():
            counts[look(done, **running.pop(done.id))] += 1
    engine.check()
    engine.reset_cache()
    assert engine.stats().used_blocks == 0
    engine.close()
    return counts


def look(handle: Handle, seed: int, schema: dict[str, Any]) -> str:
    done = handle.completion
    assert done is not None
    assert done.finish in ("stop", "length"), (seed, schema, done.error)
    if done.finish == "stop":
        try:
            value = json.loads(done.text)
            jsonschema.validate(value, schema, format_checker=jsonschema.FormatChecker())
        except ValueError as error:
            pytest.fail(f"seed {seed}: {error}: {done.text!r} for {schema}")
        except jsonschema.ValidationError as error:
            pytest.fail(f"seed {seed}: {error.message}: {done.text!r} for {schema}")
    return done.finish


def test_every_output_parses(tiny: Path) -> None:
    counts = check(tiny, range(FEW))
    assert counts["stop"] > FEW * 0.95
    assert counts["length"] <= FEW * 0.02


@pytest.mark.slow
def test_every_output_of_ten_thousand_schemas_parses(tiny: Path) -> None:
    counts = check(tiny, range(MANY))
    print(f"{MANY} schemas: {dict(counts)}; every output that ended parses, and its schema takes it")
    assert counts["stop"] > MANY * 0.95
