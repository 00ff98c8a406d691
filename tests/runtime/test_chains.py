"""Chains whose prompts continue one context: 8 steps compute no token twice, on firefly and on the simulated engine.

Counted token by token (`tests.computed`): the K/V of a token is known by all ids up to it, and for each of these the
engine computes it once, whatever the step, the block, or the chat template.

The agent in turns, on firefly, is a long proof: `pytest tests/runtime/test_chains.py -m slow`.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.backend import EngineInfo, Tokenizer, load_engine
from lampc.backend.core import EngineCore
from lampc.backend.simulated import SimulatedEngine
from lampc.frontend.lmp import compile_lmp
from lampc.ir import check, parse_module
from lampc.ir.kv import Generate
from lampc.ir.runner import find_runner, set_default_runner
from lampc.ir.settings import settings
from lampc.passes.schedule.block_tree import common_prefix
from lampc.runtime.models import ModelCall
from lampc.runtime.plan import prefix_bound
from lampc.runtime.pool import firefly_folder
from lampc.runtime.rehearsal import RehearsedModel
from lampc.runtime.session import Session
from lampc.runtime.types import Row
from tests.computed import Computed

STEPS = 8
FOLDER = Path()
WORDS = ["tea", "rome", "bread", "seven", "ships", "blue", "star", "river", "stone", "paper"]


def text(i: int) -> str:
    return " ".join(WORDS[(3 * i + j) % len(WORDS)] for j in range(2 + i % 2))


class Script:
    """Answers of a call by its number, in the chat layout."""

    def __init__(self, reply: Callable[[int, ModelCall], dict[str, str]], tokenizer: Any) -> None:
        self.reply, self.tokenizer, self.count = reply, tokenizer, 0

    def tokens(self, call: ModelCall) -> Sequence[int]:
        made = self.reply(self.count, call)
        self.count += 1
        fields = "\n\n".join(f"[[ ## {k} ## ]]\n{v}" for k, v in made.items())
        return tuple(self.tokenizer.encode(fields + "\n\n[[ ## completed ## ]]"))

    def score(self, call: ModelCall) -> float:
        return 0.0


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Firefly with room for agents: as long a context as positions can be counted in."""
    global FOLDER
    FOLDER = tmp_path_factory.mktemp("firefly") / "long"
    shutil.copytree(firefly_folder(), FOLDER)
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    (FOLDER / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8192}), encoding="utf-8")
    return FOLDER


def engine(kind: str) -> EngineCore:
    if kind == "firefly":
        made = load_engine(FOLDER, kv_tokens=1 << 14)
        assert isinstance(made, EngineCore)
        return made
    tokenizer = Tokenizer.load(firefly_folder())
    info = EngineInfo("simulated", tokenizer.vocab_size, 1 << 15, 64, 16, True, "simulated")
    return SimulatedEngine(tokenizer, info, lambda shape: 1.0, kv_tokens=1 << 14)


@pytest.fixture(params=["firefly", "simulated"])
def core(request: pytest.FixtureRequest) -> Iterator[EngineCore]:
    made = engine(request.param)
    yield made
    set_default_runner(None)


def nothing_twice(session: Session, computed: Computed, calls: int, most: int = 0) -> list[Any]:
    """What was computed is each distinct prefix of the prompts once, and so the bound. Gives the calls."""
    books = session.desk.books
    made = books.computed
    assert len(made) == calls
    assert computed.twice == 0
    distinct, times = computed.prompt_tokens([c.prompt for c in made])  # type: ignore[misc]
    assert times == distinct
    # the bound takes all that was written to be there; the last token before a length stop is not
    cut = sum(len(c.written) == most for c in made)
    assert 0 <= sum(c.computed for c in made) - prefix_bound(books.prompts, books.written) <= cut
    assert sum(c.asked for c in made) > 2 * distinct
    return made


def eagerly(core: EngineCore, reply: Callable[[int, ModelCall], dict[str, str]] | None) -> Session:
    """The session that plain code asks from now on; what the engine writes, or what `reply` says."""
    lampc.configure(model=core if reply is None else RehearsedModel(core, "main", Script(reply, core.tokenizer)))
    runner: Any = find_runner()
    root = runner.root
    assert isinstance(root, Session)
    return root


class Reply(lampc.Signature):
    """Reply in the conversation."""

    question: str = lampc.InputField()
    history: lampc.History = lampc.InputField()
    reply: str = lampc.OutputField()


def talk(session: Session, module: Any) -> None:
    with settings.context(layout="chat"):
        conversation = lampc.Conversation(module)
        for i in range(STEPS):
            conversation(question=f"{text(i)} number {i}?")


def test_a_conversation(core: EngineCore) -> None:
    computed = Computed(core)
    session = eagerly(core, lambda i, call: {"reply": text(i)})
    talk(session, lampc.Predict(Reply))
    made = nothing_twice(session, computed, STEPS)
    for before, after in itertools.pairwise(made):
        whole = before.prompt + before.written
        # all but the last token that was written is there; that one nobody computed yet
        assert after.cached >= common_prefix(whole, after.prompt) - 1 >= len(before.prompt)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_conversation_in_what_the_model_writes_itself(temperature: float) -> None:
    core = engine("firefly")
    computed = Computed(core)
    session = eagerly(core, None)
    try:
        talk(session, lampc.Predict(Reply, max_tokens=8, temperature=temperature))
        nothing_twice(session, computed, STEPS, most=8)
    finally:
        set_default_runner(None)


def search(query: str) -> str:
    """Finds passages."""
    return f"found {query}: {text(len(query))}"


def test_an_agent_whose_steps_are_text(core: EngineCore) -> None:
    """The trajectory is an input that grows; what stands behind it is new each time, what stands before is kept."""

    def reply(i: int, call: ModelCall) -> dict[str, str]:
        if i == STEPS - 1:
            return {"reasoning": "so", "answer": "42"}
        tool = "search" if i < STEPS - 2 else "finish"
        args = f'{{"query": "{text(i)}"}}' if tool == "search" else "{}"
        return {"next_thought": text(i), "next_tool_name": tool, "next_tool_args": args}

    computed = Computed(core)
    session = eagerly(core, reply)
    with settings.context(layout="chat"):
        found = lampc.ReAct("question -> answer", tools=[search])(question="what is it?")
    assert found.answer == "42"
    nothing_twice(session, computed, STEPS)


@pytest.mark.parametrize("core", [pytest.param("firefly", marks=pytest.mark.slow), "simulated"], indirect=True)
def test_an_agent_whose_steps_are_turns(core: EngineCore) -> None:
    """Each turn is one of the conversation. It never submits: the bundled tokenizer writes quoted names with a space
    before them, which no tool has, so what comes of each call is an error, a turn like any other."""

    def reply(i: int, call: ModelCall) -> dict[str, str]:
        calls = {"tool_calls": [{"name": "search", "args": {"query": WORDS[i]}}]}
        return {"next_thought": text(i), "tool_calls": json.dumps(calls)}

    computed = Computed(core)
    session = eagerly(core, reply)
    agent = lampc.ReActV2("question -> answer", tools=[search], max_iters=STEPS - 1)
    with settings.context(layout="chat"), pytest.raises(ValueError, match="did not submit"):
        agent(question="what is it?")
    nothing_twice(session, computed, STEPS)


RUN = "#run<segments = [#text<text = %s>]>"


def chain(steps: int) -> Any:
    """Each step goes on from the context that the one before has grown: its tokens are those that were drawn."""
    body, context = "", "%root"
    for i in range(steps):
        run = RUN % json.dumps(f" {text(i)}\n")
        key = f'key = #key<path = ["g{i}"]>, predictor = @p'
        body += f"""%c{i} = kv.extend({context}) {{run = {run}}} : (kv)
        %g{i}, %t{i} = kv.generate(%c{i}) {{{key}, sampling = #sampling<temperature = 1.0, max_tokens = 9>}} : (kv, str)
        """
        context = f"%g{i}"
    names = ", ".join(f'"t{i}"' for i in range(steps))
    values = ", ".join(f"%t{i}" for i in range(steps))
    fields = ", ".join(f"t{i}: str" for i in range(steps))
    module = parse_module(f"""module @m {{
      prog.def_model @main() : ()
      prog.def_predictor @p() {{signature = #signature<inputs = [], outputs = []>}} : ()
      prog.func @main_func() {{returns = !{{{fields}}}}} do () {{
        %root = kv.root() {{model = @main, predictor = @p}} : (kv)
        {body}
        %out = prog.pack({values}) {{names = [{names}]}} : ({{{fields}}})
        prog.return(%out) : ()
      }} : ()
    }}""")
    check(module)
    return module


@pytest.mark.parametrize("kind", ["firefly", "simulated"])
def test_reasoning_that_the_next_call_goes_on_from(kind: str) -> None:
    """Sampled tokens that no tokenizer would give for their text are kept as they are."""
    core = engine(kind)
    computed = Computed(core)
    with Session(model=core) as session:
        row = session.run(chain(STEPS), [Row("0", {})])[0]
        assert row.error is None, row.error
        made = nothing_twice(session, computed, STEPS, most=9)
        for before, after in itertools.pairwise(made):
            whole = before.prompt + before.written
            assert after.prompt[: len(whole)] == whole
            assert after.computed - (len(after.prompt) - len(whole)) == (len(before.written) == 9)


def going_on(steps: int) -> str:
    """A program of calls each of which goes on where the one before ended."""
    lines = ["let c0 = first(topic: topic);"]
    lines += [f'let c{i} = further(aim: "{text(i)}") @continue(c{i - 1});' for i in range(1, steps)]
    fields = ", ".join(f"c{i}: str" for i in range(steps))
    given = ", ".join(f"c{i}: c{i}.said" for i in range(steps))
    return f"""
    signature First(topic: str) -> (said: str @max(4)) {{ "Say something." }}
    signature Further(aim: str) -> (said: str @max(4)) {{ "Say more." }}
    module Talk(topic: str) -> ({fields}) {{
      use first = Predict(First) @sample(temperature: 1.0);
      use further = Predict(Further) @sample(temperature: 1.0);
      {" ".join(lines)}
      return ({given});
    }}
    """.replace('{ "', '{ """').replace('." }', '.""" }')


@pytest.mark.parametrize("kind", ["firefly", "simulated"])
def test_calls_that_go_on_where_others_ended(kind: str) -> None:
    """`@continue`: the prompt of each is that of the one before, the tokens that were drawn for it, and a turn more."""
    unit = compile_lmp(going_on(STEPS), "talk.lmp")
    core = engine(kind)
    computed = Computed(core)
    with Session(model=core) as session:
        row = session.run(unit, [Row("0", {"topic": "tea"})])[0]
        assert row.error is None, row.error
        lowered = session.executable(unit.module, "Talk").module
        (most,) = {op.sampling.max_tokens for op in lowered.walk() if isinstance(op, Generate)}
        made = nothing_twice(session, computed, STEPS, most=most)
        for before, after in itertools.pairwise(made):
            whole = before.prompt + before.written
            assert after.prompt[: len(whole)] == whole
            last = len(before.written) == most  # of an answer that was cut short, the last token was not read yet
            assert after.computed == len(after.prompt) - len(whole) + last
            turn = core.tokenizer.decode(after.prompt[len(whole) :], skip_special=False)
            assert turn.startswith("<|end|><|user|> Say more.")
            assert turn.endswith("<|end|><|assistant|>")
