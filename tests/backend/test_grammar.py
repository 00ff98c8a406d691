"""Grammars in engines: what they force, what they forbid, and that nothing around a request changes what it gets."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, normalizers

from lampc.backend.api import TokenEngine
from lampc.backend.errors import BadGrammar, Unsupported
from lampc.backend.fake import FakeEngine
from lampc.backend.grammar.compiled import Grammars
from lampc.backend.grammar.depth import depth
from lampc.backend.grammar.masks import Masks
from lampc.backend.grammar.matcher import Matcher
from lampc.backend.grammar.texts import choice, json_schema, regex
from lampc.backend.grammar.vocabulary import Spelling, Vocabulary, vocabulary_of
from lampc.backend.load import load_engine
from lampc.backend.request import Completion, Request, Sampling
from lampc.backend.tokenizer import ByteTokenizer, TextTokenizer, Tokenizer
from lampc.runtime.pool import firefly_folder

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["animal", "anthem"]}, "sure": {"type": "boolean"}, "n": {"enum": [12, 125]}},
    "required": ["kind", "sure", "n"],
    "additionalProperties": False,
}
GRAMMARS = (
    choice(["yes", "no", "nobody knows"]),
    regex("[a-c]{2,9}(-[0-9]{1,3})?"),
    json_schema(SCHEMA),
    json_schema({"type": "string", "maxLength": 12}),
    'start: "all of this is certain, é中"\n',
    'start: "[[ ## a ## ]]\\n" v0 "\\n" ("x" | "yes")\nv0[lazy]: /(?s:.{0,12})\\n\\[\\[ ## b ## \\]\\]/\n',
    "start: /(?s:.*)/\n",
)
PROMPT = (5, 6, 7, 8)


def run(engine: TokenEngine, requests: list[Request]) -> list[Completion]:
    handles = [engine.submit(r) for r in requests]
    engine.run()
    engine.check()
    for handle in handles:
        done = handle.completion
        assert done is not None
        if done.finish in ("stop", "length") and not handle.request.sampling.stop:
            assert tuple(handle.sent) == done.tokens[len(handle.request.forced) :]
    return [h.completion for h in handles if h.completion is not None]


def requests(rng: random.Random, count: int) -> list[Request]:
    made = []
    for _ in range(count):
        prompt = tuple((7 * i) % 290 for i in range(rng.randint(1, 40)))
        hot = rng.random() < 0.5
        sampling = Sampling(
            1.3 if hot else 0.0,
            top_k=rng.choice([0, 3]),
            max_tokens=rng.choice([3, 30, 30]),
            min_tokens=rng.choice([0, 0, 2]),
            ignore_eos=rng.random() < 0.2,
            stop=rng.choice([(), (), ("e",)]),
        )
        told: dict[str, Any] = rng.choice([{}, {}, {"logprobs": True}, {"top_logprobs": 2}, {"prompt_logprobs": True}])
        grammar = rng.choice([*GRAMMARS, None])
        made.append(Request(prompt, sampling, rng.getrandbits(64), grammar=grammar, priority=rng.randint(0, 1), **told))
    return made


@pytest.fixture(scope="module")
def naive(tiny: Path) -> TokenEngine:
    return load_engine(tiny, kind="naive")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prefix_cache": False, "chunk": 3},
        {"max_running": 2, "max_batch_tokens": 5, "block_size": 4},
        {"kv_tokens": 128, "block_size": 3, "max_running": 12},
        {"kv_tokens": 128, "block_size": 3, "max_running": 12, "async_scheduling": True},
    ],
    ids=["usual", "uncached", "narrow", "short", "ahead"],
)
def test_nothing_around_a_request_changes_its_answer(tiny: Path, naive: TokenEngine, options: dict[str, Any]) -> None:
    rng = random.Random(len(options))
    engine = load_engine(tiny, **options)
    asked = requests(rng, 40)
    engine._scheduler.lengths.add(1)  # type: ignore[attr-defined]  # too many are let in, and some have to go
    alone = run(naive, asked)
    for again in range(2):  # the second time from the cache
        for request, mine, right in zip(asked, run(engine, asked), alone, strict=True):
            for name in ("tokens", "text", "finish", "stop_reason", "logprobs", "top_logprobs", "forced_tokens"):
                assert getattr(mine, name) == getattr(right, name), (again, name, request)
    assert engine.stats().preemptions > 0 or "kv_tokens" not in options
    engine.reset_cache()
    assert engine.stats().used_blocks == 0
    engine.close()


def accepted(grammars: Grammars, grammar: str, tokens: tuple[int, ...]) -> tuple[bool, bool]:
    """Whether tokens may stand in an answer, and whether they are a whole one."""
    inner = grammars.matcher(grammar)._inner  # type: ignore[union-attr]
    return bool(inner.consume_tokens(list(tokens))), bool(inner.is_accepting())


def test_every_answer_is_in_its_grammar(tiny: Path) -> None:
    engine = load_engine(tiny)
    grammars = Grammars(engine.tokenizer, engine.info.vocab_size)
    asked = [
        Request(PROMPT, Sampling(1.5, max_tokens=60), key, grammar=grammar) for key in range(12) for grammar in GRAMMARS
    ]
    whole = 0
    for request, done in zip(asked, run(engine, asked), strict=True):
        assert request.grammar is not None
        if done.tokens:
            taken, complete = accepted(grammars, request.grammar, done.tokens)
            assert taken
            assert complete or done.finish == "length", (request, done)
        whole += done.finish == "stop"
        if request.grammar == json_schema(SCHEMA):
            found = json.loads(done.text)
            assert list(found) == ["kind", "sure", "n"]
            assert json.dumps(found) == done.text
    assert whole > len(asked) * 0.7
    engine.close()


@pytest.mark.parametrize("kind", ["paged", "naive"])
def test_forced_tokens_are_those_of_one_step_after_the_other(
    tiny: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [
        Request(PROMPT, Sampling(temperature, max_tokens=50), key, grammar=grammar)
        for key in range(4)
        for grammar in GRAMMARS
        for temperature in (0.0, 1.2)
    ]
    engine = load_engine(tiny, kind=kind)
    forced = run(engine, asked)
    steps = engine.stats().generated_tokens
    monkeypatch.setattr(Matcher, "forced", lambda self: [])
    slow = load_engine(tiny, kind=kind)
    drawn = run(slow, asked)
    assert [c.tokens for c in forced] == [c.tokens for c in drawn]
    assert [c.text for c in forced] == [c.text for c in drawn]
    saved = sum(c.forced_tokens for c in forced)
    assert saved > 100
    assert sum(c.forced_tokens for c in drawn) == 0
    # One more step each is left out where all of the rest is forced: nobody has to draw the end.
    assert slow.stats().generated_tokens - steps >= saved
    for one in (engine, slow):
        one.close()


TEXTS = (
    "all of this is certain",
    '{"answer": "yes", "why": [1, 2, 3]}',
    "[[ ## answer ## ]]\nthe cat\n\n[[ ## completed ## ]]",
    "naïve café, 中文字 and so on",
    "    return x * 2\n\n\n",
)


def metaspace() -> Tokenizer:
    """A tokenizer that writes spaces as ▁, and puts one before each text."""
    known = sorted({c for t in TEXTS for c in t.replace(" ", "▁")} - {"é", "中"})
    pieces = ["<unk>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *known]
    fast = FastTokenizer(
        models.BPE({p: i for i, p in enumerate(pieces)}, [], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    fast.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    fast.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    fast.add_special_tokens(["</s>"])
    return Tokenizer(fast.to_str(), {"eos_token": "</s>"}, None, frozenset())


def vocabularies(tiny: Path) -> list[tuple[TextTokenizer, str, str]]:
    return [
        (Tokenizer.load(tiny), "", ""),
        (Tokenizer.load(firefly_folder()), " ", " "),
        (ByteTokenizer(), "", ""),
        (metaspace(), " ", ""),
    ]


def choices(options: list[str], answer: str) -> int:
    """How often an answer branches off among options, none of which begins another one."""
    left, count = options, 0
    for i, char in enumerate(answer):
        following = [o for o in left if o[i] == char]
        count += len(following) < len(left)
        left = following
    return count


def test_forced_text_saves_the_steps_that_the_schema_says() -> None:
    """Where every byte is a token, that is exact: a step is drawn where the values of a closed set part, and none for
    anything else."""
    closed = {"kind": ["animal", "anthem", "ant", "bee"], "sure": [True, False], "n": [12, 125, 7], "one": ["only"]}
    rng = random.Random(0)
    answers = [json.dumps({name: rng.choice(values) for name, values in closed.items()}) for _ in range(20)]

    def reply(text: str) -> str:
        return answers[ord(text[0]) - 65][len(text) - 1 :]

    engine = FakeEngine(reply)
    properties = {name: {"enum": values} for name, values in closed.items()}
    schema = {"type": "object", "properties": properties, "required": [*closed], "additionalProperties": False}
    sampling = Sampling(max_tokens=200)
    found = run(engine, [Request((65 + i,), sampling, grammar=json_schema(schema)) for i in range(20)])
    assert [c.text for c in found] == answers
    expected = tokens = 0
    for done in found:
        assert done.finish == "stop"
        tokens += len(done.tokens)
        for name, value in json.loads(done.text).items():
            after = "}" if name == "one" else ","
            expected += choices([json.dumps(v) + after for v in closed[name]], json.dumps(value) + after)
    assert engine.stats().generated_tokens == expected
    assert sum(c.forced_tokens for c in found) == tokens - expected
    assert expected < tokens / 8


def test_forced_text_has_the_ids_of_the_tokenizer(tiny: Path) -> None:
    for tokenizer, lead, line_lead in vocabularies(tiny):
        grammars = Grammars(tokenizer, tokenizer.vocab_size)
        assert (grammars.vocabulary.lead, grammars.vocabulary.line_lead) == (lead, line_lead)
        for text in TEXTS:
            ids = tokenizer.encode(text)
            spelled = grammars.vocabulary.tokens.decode_bytes(ids).decode()  # with the spaces that were put there
            matcher = grammars.matcher(f"start: {json.dumps(spelled, ensure_ascii=False)}\n")
            assert matcher is not None
            assert matcher.forced() == ids, (text, tokenizer)
            assert matcher.ended
            # What follows may be one token with the last ones: these are left open, all before them are as they were.
            longer = grammars.matcher(f"start: {json.dumps(spelled, ensure_ascii=False)} /[a-z {{]+/\n")
            assert longer is not None
            sure = longer.forced()
            assert len(sure) < len(ids) + 1
            for tail in ("{", "the", " and"):
                assert tokenizer.encode(text + tail)[: len(sure)] == sure, (text, tail)


def test_a_space_that_the_tokenizer_puts_there_is_in_the_grammar() -> None:
    tokenizer = Tokenizer.load(firefly_folder())
    grammars = Grammars(tokenizer, tokenizer.vocab_size)
    for grammar, text in ((choice(["hello"]), "hello"), ('start: LEAD "a\\n" LINE_LEAD "b"\n', "a\nb")):
        matcher = grammars.matcher(grammar)
        assert matcher is not None
        assert matcher.forced() == tokenizer.encode(text)
    own = grammars.matcher('start: LEAD "hello"\nLEAD: "  "\n')
    assert own is not None
    assert tokenizer.decode(own.forced()) == "  hello"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("speculative", [None, {"method": "ngram"}])
def test_text_that_spells_a_special_token_is_spelled(temperature: float, speculative: Any) -> None:
    engine = load_engine(firefly_folder(), kv_tokens=1 << 12, speculative=speculative)
    forms = (
        choice(["<|end|>"]),
        regex(r"a<\|user\|>b"),
        json_schema({"const": "<|end|>"}),
        choice(["x<|end|>é", "y<|"]),
    )
    sampling = Sampling(temperature, max_tokens=60)
    made = run(engine, [Request((100, 101, 102), sampling, 7, grammar=form) for form in forms])
    assert [c.finish for c in made] == ["stop"] * 4, [c.error for c in made]
    assert [c.text.strip() for c in made[:3]] == ["<|end|>", "a<|user|>b", '"<|end|>"']
    assert made[3].text.strip() in ("x<|end|>é", "y<|")
    assert not any({0, 1, 2, 3, 4} & {*c.tokens[:-1]} for c in made)


def test_what_a_token_spells_by_itself() -> None:
    spelled = Spelling(Tokenizer.load(firefly_folder()), 2880)
    assert (spelled.bytes(4), spelled.text(4)) == (b"<|end|>", "<|end|>")
    assert (spelled.bytes(200), spelled.text(200)) == (b"\xc3", "\ufffd")


def test_grammars_name_special_tokens_by_number() -> None:
    made = run(load_engine(firefly_folder(), kv_tokens=1 << 12), [Request(PROMPT, grammar='start: "a" <[2]> "b"\n')])
    assert 2 in made[0].tokens


@pytest.mark.parametrize(
    "grammar",
    [
        "start: r0\n" + "".join(f'r{i}: r{i + 1} "a" | "b"\n' for i in range(5000)) + 'r5000: "c"\n',
        "start: R0\n" + "".join(f'R{i}: "a" R{i + 1}\n' for i in range(5000)) + 'R5000: "c"\n',
        json_schema(
            {"$ref": "#/$defs/0", "$defs": {str(i): {"anyOf": [{"$ref": f"#/$defs/{i + 1}"}]} for i in range(5000)}}
        ),
    ],
    ids=["rules", "terminals", "schema"],
)
def test_names_that_refer_to_each_other_too_deep_are_refused(tiny: Path, grammar: str) -> None:
    """They would overflow the stack, and end the process."""
    with pytest.raises(BadGrammar, match=r"refer to each other 50.. deep; at most 400 are followed"):
        load_engine(tiny).submit(Request(PROMPT, grammar=grammar))


@pytest.mark.parametrize(
    "grammar",
    [
        choice([f"label {i}" for i in range(5000)]),
        json_schema({"type": "object", "properties": {f"p{i}": {"type": "integer"} for i in range(1500)}}),
    ],
    ids=["choice", "keys"],
)
def test_a_grammar_may_be_wide(tiny: Path, grammar: str) -> None:
    (done,) = run(load_engine(tiny), [Request(PROMPT, Sampling(1.0, max_tokens=8), 3, grammar=grammar)])
    assert done.finish in ("stop", "length"), done.error


def test_names_may_refer_to_each_other_in_circles(tiny: Path) -> None:
    tree = {"$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}, "maxItems": 2}}, "$ref": "#/$defs/t"}
    assert depth(json_schema(tree)) == 2
    assert depth('start: "a" | start "b"\n') == 1
    assert depth("no grammar at all") == depth("") == depth("%json {") == 0
    many = "start: " + " | ".join(f"r{i}" for i in range(900)) + "\n" + "".join(f'r{i}: "a{i}"\n' for i in range(900))
    assert depth(many) == 2


@pytest.mark.parametrize("pattern", ["ab\\", "\\", "(?x)a b", "(?ix: a)b", "[a]\\"])
def test_patterns_that_would_be_read_otherwise_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"backslash that escapes nothing|sets the flag x"):
        regex(pattern)


@pytest.mark.parametrize("pattern", ["a\\\\", "[(?x)]a", r"\(?x", "(?i)x", "(?s-x:.)"])
def test_patterns_that_only_look_like_that_are_read(pattern: str) -> None:
    assert pattern in regex(pattern)


@pytest.mark.parametrize(
    ("grammar", "said"),
    [
        ("start: foo\n", r"line 1, column 8: unknown name: \"foo\""),
        ("start: b\nb: /[/\n", r"line 2, column 4: invalid regex"),
        ('start: %json {"type": "objct"}\n', "line 1, column 8: .*Invalid type: objct"),
        (json_schema({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (json_schema(False), "not"),
        ("start: <|nope|>\n", r'unknown special token: "<\|nope\|>"; write a special token as its id, `<\[ID\]>`\n'),
        ("", "give the text of one"),
        (7, "give the text of one"),
        ("start: " + "x" * (1 << 20), "at most 1048576"),
    ],
)
def test_a_grammar_that_cannot_be_used_is_refused(tiny: Path, grammar: Any, said: str) -> None:
    with pytest.raises(BadGrammar, match=said):
        FakeEngine().submit(Request((1,), grammar=grammar))


def test_what_cannot_keep_a_grammar_says_so(tiny: Path) -> None:
    with pytest.raises(ValueError, match="score and force tokens or keep a grammar"):
        Request((1,), grammar="x", score=(1,))
    with pytest.raises(ValueError, match=r"forced\[1\] is 98"):
        FakeEngine().submit(Request((1,), grammar=choice(["ax", "ay"]), forced=(97, 98)))

    class Strange(ByteTokenizer):
        @property
        def eos_ids(self) -> frozenset[int]:
            return frozenset()

    with pytest.raises(Unsupported, match="needs a token that ends"):
        Vocabulary(Strange(), 260)

    class Other:
        eos_ids = frozenset({1})

    with pytest.raises(Unsupported, match="Other is not known"):
        Vocabulary(Other(), 260)  # type: ignore[arg-type]
    for option in (lambda: choice([]), lambda: choice("yes"), lambda: choice(["a", ""]), lambda: regex("")):
        with pytest.raises(ValueError, match="give a"):
            option()
    with pytest.raises(ValueError, match="not JSON"):
        json_schema("{")
    with pytest.raises(ValueError, match="not JSON"):
        json_schema({"a": {1, 2}})
    with pytest.raises(ValueError, match="give a JSON schema"):
        json_schema([1])  # type: ignore[arg-type]


def byte(engine: FakeEngine, **options: Any) -> Completion:
    return run(engine, [Request((97,), **options)])[0]


def test_an_answer_ends_where_its_grammar_lets_it() -> None:
    any_a = "start: /a+/\n"
    engine = FakeEngine(["bbb"])
    done = byte(engine, grammar=choice(["yes", "no"]))
    assert (done.text, done.finish, done.stop_reason, done.forced_tokens) == ("no", "stop", None, 1)
    eos = next(iter(engine.tokenizer.eos_ids))
    ended = byte(FakeEngine(["aa"]), grammar=any_a)
    assert (ended.text, ended.finish, ended.stop_reason) == ("aaa", "stop", eos)
    cut = byte(FakeEngine(["a" * 90]), grammar=any_a, sampling=Sampling(max_tokens=7))
    assert (cut.text, cut.finish) == ("a" * 7, "length")
    longer = byte(FakeEngine(["aa"]), grammar=any_a, sampling=Sampling(max_tokens=7, ignore_eos=True))
    assert (longer.text, longer.finish) == ("a" * 7, "length")
    # A stopping id is one where the text is whole, and a text's letter nowhere.
    stopped = byte(FakeEngine(["x"]), grammar="start: /yes[a-z]*/\n", sampling=Sampling(stop_ids=(115, 120)))
    assert (stopped.text, stopped.stop_reason) == ("yes", 120)
    last = byte(FakeEngine(["no"]), grammar=choice(["no", "yes"]), sampling=Sampling(max_tokens=2, min_tokens=2))
    assert (last.text, last.finish) == ("no", "stop")
    told = byte(FakeEngine(["x"]), grammar='start: "abc"\n', sampling=Sampling(max_tokens=2))
    assert (told.text, told.finish, told.forced_tokens) == ("ab", "length", 2)
    string = byte(FakeEngine(["x"]), grammar='start: "abcd"\n', sampling=Sampling(stop=("c",)))
    assert (string.text, string.finish, string.stop_reason) == ("ab", "stop", "c")


def test_nothing_but_the_end_is_left() -> None:
    """An end that must not come yet, or not count, comes where there is nothing else."""
    for sampling in (Sampling(ignore_eos=True), Sampling(min_tokens=9, max_tokens=9)):
        done = byte(FakeEngine(["zz"]), grammar=choice(["no", "nobody"]), sampling=sampling)
        assert done.finish == "stop"
        assert done.text in ("no", "nobody")


def test_whoever_listens_hears_of_forced_tokens() -> None:
    engine = FakeEngine(["yyy"])
    heard: list[int] = []
    request = Request((97,), grammar='start: "so: " ("yes" | "no") " then"\n')
    handle = engine.submit(request, on_token=lambda handle, token: heard.append(token))
    engine.run()
    assert handle.completion is not None
    assert bytes(heard).decode() == handle.completion.text == "so: yes then"
    assert engine.stats().generated_tokens == 1
    assert handle.completion.forced_tokens == 11


def test_a_mask_that_cannot_be_computed_ends_one_request(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load_engine(tiny)
    whole = Matcher.fill
    grammar = "start: /[a-b]+/\n"

    def fill(self: Matcher) -> None:
        if self is bad:
            raise RuntimeError("too much")
        whole(self)

    monkeypatch.setattr(Matcher, "fill", fill)
    handles = [engine.submit(Request(PROMPT, Sampling(max_tokens=4, ignore_eos=True), grammar=grammar)) for _ in "abc"]
    bad = engine._jobs[handles[1].id].matcher  # type: ignore[attr-defined]
    engine.run()
    assert [h.completion.finish for h in handles if h.completion] == ["length", "error", "length"]
    assert "too much" in (handles[1].completion.error or "")  # type: ignore[union-attr]
    engine.check()
    engine.close()


@pytest.mark.parametrize("small", [0, 1 << 30], ids=["thread", "inline"])
def test_an_interrupt_while_the_model_computes_loses_nothing(tiny: Path, small: int) -> None:
    asked = [Request(PROMPT, Sampling(0.9, max_tokens=20), key, grammar=GRAMMARS[2]) for key in range(5)]
    plain = load_engine(tiny)
    right = [c.tokens for c in run(plain, asked)]
    engine: Any = load_engine(tiny)
    engine._masks = Masks(small)
    inner, calls = engine._runner, iter(range(1000))

    class Interrupted:
        def execute(self, plan: Any) -> Any:
            if next(calls) % 2:
                raise KeyboardInterrupt
            return inner.execute(plan)

    engine._runner = Interrupted()
    handles = [engine.submit(r) for r in asked]
    while not engine.idle:
        try:
            engine.step()
        except KeyboardInterrupt:
            engine.check()
    assert [h.completion.tokens for h in handles if h.completion] == right
    engine.check()
    engine.close()
    plain.close()


def test_masks_of_a_thread_are_those_of_none(tiny: Path) -> None:
    asked = requests(random.Random(7), 24)
    found = []
    for small in (0, 1 << 30):
        engine: Any = load_engine(tiny)
        engine._masks = Masks(small)
        found.append([c.tokens for c in run(engine, asked)])
        engine.close()
        assert engine._masks._thread is None
    assert found[0] == found[1]


def test_grammars_are_kept_up_to_a_number() -> None:
    grammars = Grammars(ByteTokenizer(), 260, kept=2)
    for text in ("a", "b", "a", "c", "a"):
        grammars.matcher(choice([text]))
    assert [choice([t]) for t in ("c", "a")] == list(grammars._read)


def test_text_without_an_end_is_cut_and_troubles_nobody() -> None:
    engine = FakeEngine(reply=lambda prompt: "bcc" if prompt == "X" else "hello")
    other, few = Request(tuple(b"other"), Sampling(max_tokens=20)), Sampling(max_tokens=20)
    endless = [Request(tuple(b"X"), few, grammar=g) for g in ('start: "a" | "b" x\nx: "c" x\n', 'start: "c" start\n')]
    first, *cut = run(engine, [other, *endless])
    assert (first.text, first.finish) == ("hello", "stop")
    assert [(c.text, c.finish) for c in cut] == [("b" + 19 * "c", "length"), (20 * "c", "length")]


@pytest.mark.slow
def test_what_others_found_out_about_a_grammar_counts_for_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """llguidance bounds how many states a lexer may have, and copies of a grammar share theirs."""
    monkeypatch.setattr("lampc.backend.grammar.compiled.USED", 1 << 40)
    rng = random.Random(1)
    engine = FakeEngine(reply=lambda prompt: "".join(rng.choice("abcdefghij  ") for _ in range(300)))
    request = Request((65, 66), Sampling(max_tokens=200), grammar=regex("(.{1,50}a){1,40}"))
    finishes = Counter(run(engine, [request])[0].finish for _ in range(200))
    assert finishes["error"] == 0


def test_what_cannot_be_says_why() -> None:
    engine = FakeEngine(reply=lambda prompt: "x")

    def asked(grammar: Any, **sampling: Any) -> Completion:
        return run(engine, [Request(tuple(b"X"), Sampling(max_tokens=20, **sampling), grammar=grammar)])[0]

    assert asked(choice(["\x7f"])).text == "\x7f"
    with pytest.raises(BadGrammar, match="half of a character"):
        asked(choice(["\ud800"]))
    with pytest.raises(BadGrammar, match="`allow_invalid_utf8` of %llguidance is not supported"):
        asked('%llguidance {"no_forcing": true, "allow_\\u0069nvalid_utf8": true}\nstart: /(?s-u:.)+/\n')
    assert asked('%llguidance {"no_forcing": true}\nstart: /x/\n').text == "x"
    with pytest.raises(BadGrammar, match=r"grammar is \['x'\]; give the text"):
        asked(["x"])
    with pytest.raises(BadGrammar) as error:
        asked(json_schema({"$ref": "#"}))
    assert "<" not in str(error.value)
    blocked = asked('start: "a" | "b"\n', stop_ids=(ord("a"), ord("b")))
    assert blocked.finish == "error"
    assert blocked.error is not None
    assert "one of stop_ids" in blocked.error


def test_engines_of_one_tokenizer_have_one_vocabulary() -> None:
    first, second = (Tokenizer.load(firefly_folder()) for _ in range(2))
    shared = vocabulary_of(first, 2880)
    assert vocabulary_of(second, 2880) is shared
    assert vocabulary_of(second, 2900) is not shared
    assert vocabulary_of(ByteTokenizer(), 300) is not shared  # the third, so that the first is given back
    assert vocabulary_of(first, 2880) is not shared
