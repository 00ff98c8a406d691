"""Labels in one step: the tokens are those that are drawn one by one, whatever else runs, and no block is left."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from lampc.backend import Engine
from lampc.backend.api import TokenEngine
from lampc.backend.branches import Branches
from lampc.backend.grammar.compiled import Grammars
from lampc.backend.grammar.places import MOST_TEXTS, MOST_TOKENS, Places, _texts
from lampc.backend.grammar.texts import choice, json_schema
from lampc.backend.load import load_engine
from lampc.backend.request import Completion, Request, Sampling
from lampc.backend.tokenizer import Tokenizer
from lampc.runtime.pool import firefly_folder
from tests.backend.test_lora import ATTENTION, make

SETS = (
    ("yes", "no"),
    ("very good", "very bad", "good", "bad"),
    ("billing/refund", "billing/invoice", "billing/other", "tech/login", "tech/crash"),
    ("1", "10", "100", "12"),
    ("Mathematics", "Mathematical Physics", "Philosophy", "Physics"),
    tuple(f"class_{i}" for i in range(12)),
    ("é中", "é中国", "été"),
)


def marked(options: tuple[str, ...], more: str = "") -> str:
    """A grammar as programs have it: a mark, one of the options, a mark, and perhaps more."""
    rule = " | ".join(json.dumps(o, ensure_ascii=False) for o in options)
    end = f'"\\n\\n[[ ## next ## ]]\\n" {more}' if more else '"\\n\\n[[ ## completed ## ]]"'
    return f'start: "[[ ## label ## ]]\\n" LINE_LEAD v0 {end}\nv0: {rule}\n'


GRAMMARS = (
    *(choice(options) for options in SETS),
    *(marked(options) for options in SETS),
    marked(SETS[1], '("True" | "False") "\\n" ("True" | "Truly" | "None")'),
    marked(SETS[2], "/(?s:.{0,12})x/"),
    'start: "so: " /[a-z]{1,3}/ " [[ ## label ## ]]\\n" LINE_LEAD ("abc" | "abd" | "b")\n',
    json_schema({"type": "object", "properties": {"k": {"enum": ["animal", "anthem"]}, "sure": {"type": "boolean"},
                                                  "n": {"enum": [12, 125]}},
                 "required": ["k", "sure", "n"], "additionalProperties": False}),
    json_schema({"type": "integer"}),
)  # fmt: skip


def run(engine: TokenEngine, asked: list[Request]) -> list[Completion]:
    handles = [engine.submit(r) for r in asked]
    while not engine.idle:
        engine.step()
        engine.check()
    return [h.completion for h in handles if h.completion is not None]


def requests(rng: random.Random, count: int) -> list[Request]:
    made = []
    for _ in range(count):
        prompt = tuple(rng.randrange(20, 280) for _ in range(rng.randint(1, 30)))
        sampling = Sampling(
            rng.choice([0.0, 0.7, 1.3]),
            top_k=rng.choice([0, 0, 3]),
            top_p=rng.choice([1.0, 0.8]),
            max_tokens=rng.choice([4, 40, 40, 40]),
            min_tokens=rng.choice([0, 0, 0, 2]),
            ignore_eos=rng.random() < 0.1,
            stop=rng.choice([(), (), (), ("e",)]),
            presence_penalty=rng.choice([0.0, 0.0, 0.0, 0.5]),
        )
        told: dict[str, Any] = rng.choice([{}, {}, {}, {"logprobs": True}, {"top_logprobs": 2}])
        grammar = rng.choice(GRAMMARS)
        for _ in range(rng.choice([1, 1, 3])):  # samples of one prompt
            key = rng.getrandbits(64)
            made.append(Request(prompt, sampling, key, grammar=grammar, closed=rng.random() < 0.9, **told))
    return made


def equal(found: list[Completion], wanted: list[Completion], asked: list[Request]) -> None:
    for request, mine, right in zip(asked, found, wanted, strict=True):
        for name in ("tokens", "text", "finish", "stop_reason", "logprobs", "top_logprobs", "forced_tokens"):
            assert getattr(mine, name) == getattr(right, name), (name, request)


@pytest.mark.parametrize(
    "options",
    [
        {"branch_rows": 256},
        {"branch_rows": 256, "backend": "torch"},
        {"branch_rows": 7, "chunk": 3, "prefix_cache": False},
        {"branch_rows": 256, "kv_tokens": 128, "block_size": 3, "max_running": 12},
        {"branch_rows": 256, "async_scheduling": True},
    ],
    ids=["usual", "torch", "narrow", "short", "ahead"],
)
def test_tokens_are_those_of_one_step_after_the_other(tiny: Path, options: dict[str, Any]) -> None:
    rng = random.Random(len(options))
    engine = load_engine(tiny, **options)
    naive = load_engine(tiny, kind="naive", backend=options.get("backend", "auto"))
    asked = requests(rng, 12 if "backend" in options else 60)
    equal(run(engine, asked), run(naive, asked), asked)
    engine.reset_cache()
    assert engine.stats().used_blocks == 0
    engine.close()
    naive.close()


def test_firefly_says_the_same_in_fewer_steps() -> None:
    slow, fast = (load_engine(firefly_folder(), branch_rows=rows, kv_tokens=4096) for rows in (0, 64))
    rng = random.Random(1)
    text = Tokenizer.load(firefly_folder()).encode("Is this text long, and what is it about? It is of many things.")
    steps = [0, 0]
    for grammar in GRAMMARS[len(SETS) : 2 * len(SETS)]:
        for temperature in (0.0, 1.0):
            prompt = tuple(rng.sample(text, len(text) // 2))
            asked = [
                Request(prompt, Sampling(temperature, max_tokens=60), key, grammar=grammar, closed=True)
                for key in range(4)
            ]
            before = [e.stats().steps for e in (slow, fast)]
            equal(run(fast, asked), run(slow, asked), asked)
            steps = [n + e.stats().steps - b for n, e, b in zip(steps, (slow, fast), before, strict=True)]
    assert steps[1] < 0.8 * steps[0], steps
    for engine in (slow, fast):
        engine.close()


@pytest.mark.parametrize("options", SETS)
def test_one_step_for_an_answer_that_is_spelled_as_usual(options: tuple[str, ...]) -> None:
    """Whatever text the model is made to want, it takes one step, if the tokens are the tokenizer's."""
    from lampc.backend.simulated import play

    engine = load_engine(firefly_folder(), branch_rows=64, kv_tokens=2048)
    script = play(engine)
    grammar = marked(options)
    grammars = Grammars(engine.tokenizer, engine.info.vocab_size)
    vocabulary = grammars.vocabulary
    for option in options:
        text = f"[[ ## label ## ]]\n{vocabulary.line_lead}{option}\n\n[[ ## completed ## ]]"
        tokens = vocabulary.cut(text.encode())
        handle = engine.submit(Request((30, 31, 32), Sampling(max_tokens=99), grammar=grammar, closed=True))
        script.add(handle.id, tokens)
        before = engine.stats().steps
        engine.run()
        assert handle.completion is not None
        assert handle.completion.finish == "stop", handle.completion
        assert handle.completion.tokens == tuple(tokens)
        assert engine.stats().steps == before + 1, option
    engine.check()
    engine.close()


@pytest.mark.parametrize("ahead", [False, True])
def test_in_the_midst_of_a_text_nobody_looks_for_places(ahead: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each row is a want of its own, as in steps launched ahead, too: only where something begins."""
    from lampc.backend.simulated import play

    engine = load_engine(firefly_folder(), branch_rows=64, kv_tokens=2048, async_scheduling=ahead)
    script, vocabulary = play(engine), Grammars(engine.tokenizer, engine.info.vocab_size).vocabulary
    looks: list[tuple[int, ...]] = []
    inner = Places.after

    def after(self: Places, grammar: str, matcher: Any, run: Any, stops: Any) -> Any:
        looks.append(tuple(run))
        return inner(self, grammar, matcher, run, stops)

    monkeypatch.setattr(Places, "after", after)
    end = r'"\n\n[[ ## label ## ]]\n" ("good" | "very bad") "\n\n[[ ## completed ## ]]"'
    grammar = r'start: "[[ ## reason ## ]]\n" /[a-z ]{40,400}/ ' + end
    said = "it is of many things and of more " * 4
    text = f"[[ ## reason ## ]]\n{said}\n\n[[ ## label ## ]]\nvery bad\n\n[[ ## completed ## ]]"
    tokens = vocabulary.cut(text.encode())
    handle = engine.submit(Request((30, 31, 32), Sampling(1.0, max_tokens=200), grammar=grammar, closed=True))
    script.add(handle.id, tokens)
    free = engine.submit(Request((40, 41, 42), Sampling(1.0, max_tokens=100)))  # the other is then no lane of its own
    script.add(free.id, range(50, 140))
    engine.run()
    assert handle.completion is not None
    assert handle.completion.text.endswith("very bad\n\n[[ ## completed ## ]]"), handle.completion
    assert len(tokens) > 40
    assert 1 < len(looks) < 6
    engine.check()
    engine.close()


def test_what_could_be_wrong_about_a_place_is_seen(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places of another grammar lead nowhere: a mask that is not the answer's own counts for nothing."""
    naive, engine = load_engine(tiny, kind="naive"), load_engine(tiny, branch_rows=256)
    grammars = Grammars(engine.tokenizer, engine.info.vocab_size)
    inner = Places.after

    def other(self: Places, grammar: str, matcher: Any, run: Any, stops: Any) -> Any:
        wrong = grammars.matcher(marked(("very good", "very bald", "good", "bad")))
        assert wrong is not None
        return inner(self, "x", wrong, wrong.forced(), stops)

    monkeypatch.setattr(Places, "after", other)
    asked = [
        Request((9, 8, 7), Sampling(1.2, max_tokens=40), key, grammar=marked(SETS[1]), closed=True) for key in range(20)
    ]
    equal(run(engine, asked), run(naive, asked), asked)
    engine.close()
    naive.close()


def test_a_step_that_fails_gives_the_slots_of_its_branches_back(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, naive = load_engine(tiny, branch_rows=256), load_engine(tiny, kind="naive")
    asked = [
        Request((9, 8, 7, key), Sampling(1.0, max_tokens=40), key, grammar=marked(SETS[1]), closed=True)
        for key in range(6)
    ]
    handles = [engine.submit(r) for r in asked]
    failed: list[int] = []
    inner = engine._runner.execute  # type: ignore[attr-defined]

    def fails(plan: Any) -> Any:
        if engine._branches.slots and not failed:  # type: ignore[attr-defined]
            failed.append(plan.rows)
            raise RuntimeError("once")
        return inner(plan)

    monkeypatch.setattr(engine._runner, "execute", fails)  # type: ignore[attr-defined]
    while not engine.idle:
        engine.step()
        engine.check()
    assert failed
    equal([h.completion for h in handles if h.completion is not None], run(naive, asked), asked)
    engine.close()
    naive.close()


def test_samples_of_one_prompt_have_their_branches_in_common(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load_engine(tiny, branch_rows=256)
    rows: list[int] = []
    added: list[int] = []
    inner = Branches.grow

    def grow(self: Branches, plan: Any, limit: int) -> None:
        before = plan.rows
        inner(self, plan, limit)
        rows.append(plan.rows - before)

    monkeypatch.setattr(Branches, "grow", grow)
    for count in (1, 8):
        run(engine, [Request((40, 41, count), Sampling(1.0, max_tokens=40), key, grammar=marked(SETS[1]), closed=True)
                     for key in range(count)])  # fmt: skip
        added.append(rows[0])
        rows.clear()
    assert added[0] == added[1] > 0
    engine.close()


def test_texts_of_a_grammar_are_found_once_each() -> None:
    tokenizer = Tokenizer.load(firefly_folder())
    grammars = Grammars(tokenizer, tokenizer.vocab_size)
    for options in SETS:
        matcher = grammars.matcher(choice(options))
        assert matcher is not None
        lead = grammars.vocabulary.lead
        assert sorted(_texts(matcher) or []) == sorted((lead + o).encode() for o in options)
    many = grammars.matcher(choice([f"n{i}" for i in range(MOST_TEXTS + 1)]))
    free = grammars.matcher("start: /(?s:.*)/\n")
    number = grammars.matcher(json_schema({"type": "integer"}))
    assert many is not None
    assert free is not None
    assert number is not None
    assert _texts(many) is None
    assert _texts(number) is None
    assert len(_texts(free) or []) == 1
    places = Places()
    assert places.after("free", free, (), frozenset()) == ()
    wide = grammars.matcher(marked(tuple(f"{a}{b}{c}" for a in "abc" for b in "abc" for c in "abcde")))
    assert wide is not None
    made = places.after("wide", wide, wide.forced(), frozenset(tokenizer.eos_ids))
    assert sum(p.count for p in made) <= MOST_TOKENS


def test_adapters_have_branches_of_their_own(tiny: Path, tmp_path: Path) -> None:
    adapters = {name: make(tiny, tmp_path / name, ATTENTION, seed) for seed, name in enumerate(("a", "b"))}
    asked = [
        Request((60, 61, 62), Sampling(heat, max_tokens=30), key, grammar=marked(SETS[1]), closed=True, adapter=adapter)
        for key in range(4)
        for heat in (0.0, 1.0)
        for adapter in ("a", "b", None)
    ]
    naive, engine = load_engine(tiny, kind="naive", adapters=adapters), load_engine(tiny, adapters=adapters)
    equal(run(engine, asked), run(naive, asked), asked)
    engine.close()
    naive.close()


def test_choice_of_an_engine_says_so_itself() -> None:
    with Engine.load(firefly_folder(), kv_tokens=2048) as engine:
        before = engine.stats().steps
        found = engine.generate("What kind of text is this? ", choice=SETS[1], n=3, temperature=1.0, seed=2)
        again = engine.generate("What kind of text is this? ", choice=SETS[1], n=3, temperature=1.0, seed=2)
        assert all(text.strip() in SETS[1] for text in found.texts)
        assert found.texts == again.texts
        assert engine.stats().steps >= before + 2
        engine.check()
