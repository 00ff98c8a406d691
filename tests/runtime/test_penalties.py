"""Penalties and logit bias from predictors, LMs and `.lmp` down to the engine, and to endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import lampc
from lampc.backend import Request, load_engine
from lampc.backend.hooks import Hook
from lampc.frontend.lmp import compile_lmp, emit_lmp
from lampc.ir import Sampling, parse_module
from lampc.ir.callkey import CallKey
from lampc.ir.penalties import penalties_of, told_penalties
from lampc.ir.settings import settings
from lampc.runtime.configure import default_runner
from lampc.runtime.pool import firefly_folder
from tests.runtime.loopback import Loopback

SAID: dict[str, Any] = {
    "presence_penalty": 1.5,
    "frequency_penalty": -1,
    "repetition_penalty": 1.3,
    "min_p": 0.1,
    "logit_bias": {"9": -3, 5: 4.0},
}
HELD = {"presence_penalty": 1.5, "frequency_penalty": -1.0, "repetition_penalty": 1.3, "min_p": 0.1}
BIAS = ((5, 4.0), (9, -3.0))


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("LAMPC_CACHE_DIR", raising=False)
    settings.reset()
    yield
    settings.reset()
    default_runner().close()
    lampc.configure(seed=0, cache=None)


class Seen(Hook):
    """What engines are asked for."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def on_submit(self, request: Request) -> Request:
        self.requests.append(request)
        return request

    @property
    def options(self) -> list[dict[str, Any]]:
        return [{n: getattr(r.sampling, n) for n in (*HELD, "logit_bias")} for r in self.requests]


def test_an_engine_of_this_machine_gets_what_lms_and_predictors_say() -> None:
    seen = Seen()
    engine = load_engine(firefly_folder(), hooks=[seen])
    lm = lampc.LM("firefly", engine=engine, max_tokens=8)
    lm("who is ann ?")
    lm("who is ann ?", **SAID)
    lampc.LM("firefly", engine=engine, max_tokens=8, **SAID)("who is ann ?")
    asking = lampc.Predict("question -> answer", layout="compact")
    with lampc.context(lm=lampc.LM("firefly", engine=engine, max_tokens=8, presence_penalty=0.5)):
        asking(question="a")
        asking(question="a", config={"presence_penalty": 0, "logit_bias": {7: 1}})
    none = {"presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0, "min_p": 0.0}
    assert seen.options == [
        {**none, "logit_bias": ()},
        {**HELD, "logit_bias": BIAS},  # the third is the same call: its answer is known
        {**none, "presence_penalty": 0.5, "logit_bias": ()},
        {**none, "logit_bias": ((7, 1.0),)},
    ]


def test_they_change_what_the_bundled_model_writes() -> None:
    engine = load_engine(firefly_folder())
    letters = [i for i in range(engine.info.vocab_size) if "a" in engine.tokenizer.decode([i])]
    asking = lampc.Predict("question -> answer", layout="compact")
    with lampc.context(lm=lampc.LM("firefly", engine=engine, max_tokens=12)):
        assert "a" in asking(question="where is ann ?").answer
        bias = dict.fromkeys(letters, -1000)
        assert "a" not in asking(question="where is ann ?", config={"logit_bias": bias}).answer


def test_an_endpoint_gets_them_in_openai_s_form() -> None:
    with Loopback(lambda messages: "answer: yes") as server:
        lampc.configure(lm=lampc.LM("m", api_base=server.url, frequency_penalty=0.5))
        lampc.Predict("question -> answer", layout="compact", **SAID)(question="x")
        lampc.Predict("question -> answer", layout="compact")(question="x")
        names = (*HELD, "logit_bias")
        sent = [{n: body[n] for n in names if n in body} for body in server.requests]
    assert sent == [{**HELD, "logit_bias": {"5": 4.0, "9": -3.0}}, {"frequency_penalty": 0.5}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"presence_penalty": "much"}, "presence_penalty is 'much'; give a number"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0; give a number above 0"),
        ({"min_p": 2}, "min_p is 2"),
        ({"logit_bias": {"a": 1}}, "logit_bias has the key 'a'; give each token id once"),
        ({"logit_bias": {1: None}}, "logit_bias of token 1 is None; give a number"),
        ({"logit_bias": {"1": 1, 1: 2}}, "logit_bias has the key 1"),
        ({"logit_bias": 7}, "give a mapping of token ids to numbers"),
    ],
)
def test_what_cannot_be_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        penalties_of(options)
    lampc.configure(lm=lampc.LM("firefly"))
    with pytest.raises(ValueError, match=message):
        lampc.Predict("question -> answer", **options)(question="x")


def test_ids_past_the_vocabulary_fail_the_call() -> None:
    with lampc.context(lm=lampc.LM("firefly")), pytest.raises(Exception, match="the vocabulary has ids 0 to"):
        lampc.Predict("question -> answer", logit_bias={10**6: 1})(question="x")


def test_calls_that_differ_in_them_have_keys_of_their_own() -> None:
    samplings = [Sampling(), *(Sampling(**penalties_of({name: value})) for name, value in SAID.items())]
    assert len({CallKey("m", "exact", "p", s, 0).digest() for s in samplings}) == len(samplings)
    # As it was before there were any: what stores keep is found again.
    assert CallKey("m", "e", "p", Sampling(), 0).digest() == "57423e61ace477a4cdfb071f1f13fbe1"
    assert told_penalties(Sampling()) == {}


SOURCE = '''
signature Ask(q: str) -> (a: str) { """Answer.""" }
module M(q: str) -> (a: str) {
  use p = Predict(Ask);
  let r = p(q: q) @sample(presence_penalty: -0.5, min_p: 0.1, logit_bias: [[5, -1], [7, 2.5]]);
  return (a: r.a);
}
'''


def test_lmp_says_them_and_they_come_back() -> None:
    unit = compile_lmp(SOURCE)
    text = str(unit.module)
    assert "presence_penalty = -0.5, min_p = 0.1, logit_bias = [[5, -1.0], [7, 2.5]]" in text
    assert str(parse_module(text)) == text
    assert str(compile_lmp(emit_lmp(unit)).module) == text
    with pytest.raises(Exception, match="logit_bias has the key"):
        compile_lmp(SOURCE.replace("[5, -1]", "[-5, -1]"))
