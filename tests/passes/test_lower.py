"""Lowering: the runs of a prompt, read one after another, are the text that the chat template renders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lampc.ir import CompileError, Glue, Key, Module, Op, Region, Signature, Span, Symbol, check
from lampc.ir.adapters import ADAPTERS, adapter, bind_predictors, bind_prompt
from lampc.ir.content import DemoSet, Field
from lampc.ir.kv import Extend
from lampc.ir.prog import DefModel, DefPredictor, Func, Predict, Return
from lampc.ir.prompt import Demos, Input, Run
from lampc.ir.requests import RequestOp
from lampc.ir.types import STR, ListOf
from lampc.passes import PassContext, Pipeline, RunOptions
from lampc.passes.lower import cut, run_text
from tests.content import demos_for, signatures, values_of
from tests.fakes import TEMPLATES, FakeTarget

OPTIONS = RunOptions(round_trip=True, crash_dir=None)
law = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


def one_call(
    signature: Signature, demos: DemoSet | None = None, layout: str = "compact", model: str = "main"
) -> Module:
    """A module whose only function makes one call."""
    module = Module("m")
    module.add(DefModel.make(symbol=model))
    module.add(
        DefPredictor.make(signature=signature, demos=demos or DemoSet(), layout=layout, model=Symbol(model), symbol="p")
    )
    body = Region([(f.name, f.type) for f in signature.inputs])
    call = Predict.make(
        *body.args, predictor=Symbol("p"), signature=signature, key=Key(("p#0",)), loc=Span("qa.lmp", 4, 3)
    )
    body.append(call)
    body.append(Return.make(call.result))
    module.add(Func.make(returns=call.result.type, regions=[body], symbol="f"))
    check(module)
    return module


def lowered(module: Module, target: FakeTarget) -> list[Extend]:
    Pipeline.parse("lower-prompts,lower-kv").run(module, PassContext(target), OPTIONS)
    return [op for op in module.walk() if isinstance(op, Extend)]


@st.composite
def calls(draw: Any) -> tuple[Signature, DemoSet, str, list[Any]]:
    signature = draw(signatures())
    demos = DemoSet(tuple(draw(st.lists(demos_for(signature), max_size=2))))
    values = [draw(values_of(f.type)) for f in signature.inputs]
    return signature, demos, draw(st.sampled_from(sorted(ADAPTERS))), values


@pytest.mark.parametrize("template", TEMPLATES)
def test_runs_make_up_the_text_that_the_template_renders(template: str) -> None:
    target = FakeTarget(TEMPLATES[template])

    @law
    @given(calls())
    def holds(call: tuple[Signature, DemoSet, str, list[Any]]) -> None:
        signature, demos, layout, values = call
        module = one_call(signature, demos, layout)
        bound = bind_predictors(module)["p"]
        prompt = adapter(layout).render(signature, "p")
        extends = lowered(module, target)
        env = dict(zip(next(op for op in module.walk() if isinstance(op, Func)).body.args, values, strict=True))
        texts = [run_text(e.run, bound, [env[v] for v in e.inputs], target) for e in extends]
        assert "".join(texts) == target.render_chat(bind_prompt(prompt, bound, values, target.quote))
        assert len(extends) == (3 if target.glue and target.glue.hard else 1)

    holds()


@pytest.mark.parametrize("template", [n for n, g in TEMPLATES.items() if g and g.hard])
def test_tokenising_the_runs_alone_gives_the_ids_of_the_whole(template: str) -> None:
    glue = TEMPLATES[template]
    assert glue is not None
    target = FakeTarget(glue)
    encode = bpe(glue)

    @law
    @given(calls())
    def holds(call: tuple[Signature, DemoSet, str, list[Any]]) -> None:
        signature, demos, layout, values = call
        bound = bind_predictors(one_call(signature, demos, layout))["p"]
        prompt = adapter(layout).render(signature, "p")
        runs = [run_text(r, bound, values, target) for r in cut(prompt, glue)]
        assert [i for text in runs for i in encode(text)] == encode("".join(runs))

    holds()


def bpe(glue: Glue) -> Any:
    """A byte-level BPE tokenizer that knows the markers of a template and merges white space eagerly."""
    tokenizers = pytest.importorskip("tokenizers")
    import re

    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    markers = sorted(
        {m for _, text in (*glue.before, *glue.after, ("", glue.begin)) for m in re.findall(r"<\|\w+\|>", text)}
    )
    corpus = ["system\n\nuser\n\nassistant\n\n", "\n\n[[ ## x ## ]]\n", "the red fox  ran\n- b\n- a: b"] * 3
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(corpus, trainer)
    made.add_special_tokens(markers)
    return lambda text: made.encode(text, add_special_tokens=False).ids


def test_extensions_take_only_the_operands_of_their_slots() -> None:
    signature = Signature((Field("a", STR), Field("b", ListOf(STR))), (Field("c", STR),), "Say c.")
    module = one_call(signature)
    system, demos, user = lowered(module, FakeTarget(TEMPLATES["firefly"]))
    assert [len(e.inputs) for e in (system, demos, user)] == [0, 0, 2]
    assert isinstance(demos.run.segments[0], Demos)
    assert [s.index for s in user.run.segments if isinstance(s, Input)] == [0, 1]


def test_a_template_without_a_role_gets_the_whole_prompt() -> None:
    glue = TEMPLATES["firefly"]
    assert glue is not None
    no_system = replace(glue, before=glue.before[1:], after=glue.after[1:])
    prompt = adapter("chat").render(Signature((Field("a", STR),), (Field("c", STR),)), "p")
    assert cut(prompt, no_system) == (Run(turns=prompt.turns),)


def test_endpoints_keep_their_requests() -> None:
    module = one_call(Signature((Field("a", STR),), (Field("c", STR),)), model="far")
    ctx = PassContext(FakeTarget(None), {"far": FakeTarget(None, local=False)})
    report = Pipeline.parse("lower-prompts,lower-kv,share-prefix,liveness").run(module, ctx, OPTIONS)
    assert report.counters()["lower-kv.endpoint_requests"] == 1
    assert any(isinstance(op, RequestOp) for op in module.walk())


def test_what_cannot_be_lowered_is_a_diagnostic_at_the_call() -> None:
    signature = Signature((Field("a", STR),), (Field("c", STR),))
    for pipeline, message, help in (
        ("lower-prompts{layouts=[[p,chta]]}", "there is no layout `chta`", "did you mean `chat`?"),
        ("lower-prompts,lower-kv", "there is no target for the model of predictor `p`", "give the target"),
    ):
        with pytest.raises(CompileError) as caught:
            Pipeline.parse(pipeline).run(one_call(signature), PassContext(), OPTIONS)
        (found,) = caught.value.diagnostics
        assert found.line().startswith("qa.lmp:4:3: error[L093")
        assert message in found.message
        assert help in found.help
    module = one_call(signature)
    calls: Sequence[Op] = [op for op in module.walk() if isinstance(op, Predict)]
    calls[0].attrs["predictor"] = Symbol("q")
    with pytest.raises(CompileError, match="predictor `q` is not defined"):
        Pipeline.parse("lower-prompts").run(module, PassContext(), OPTIONS)
