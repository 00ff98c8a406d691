"""The LM calls of the executor: contexts extended, calls made, answers read, and asked for again if they cannot be.

`Executor` derives from `LMCalls`, which knows of regions and order only what it calls here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from lampc.ir import Draw, Key, Op, Sampling
from lampc.ir.adapters import Bound, ParseFailure, adapter, bind_prompt
from lampc.ir.adapters.rounds import Round, again, first_round, next_round
from lampc.ir.kv import Extend, Generate, Score
from lampc.ir.requests import Follow, Parse, RequestOp, followed
from lampc.runtime.admission import Admission
from lampc.runtime.blocks import Block, ContextValue, Said, Scope, Services
from lampc.runtime.cascades import Scored, proxy_node, proxy_of, score_of, stands
from lampc.runtime.client import Client, Deliver, OnText, Waiting
from lampc.runtime.compile import Executable, predictor_of
from lampc.runtime.contexts import Planned, RowContexts
from lampc.runtime.encoded import Encoded
from lampc.runtime.failures import Cut, RowFailure, UnreadableAnswer, cut_of
from lampc.runtime.models import NOT_KNOWN, Answer
from lampc.runtime.modelview import ModelView, at_temperature
from lampc.runtime.paths import NO_PROMPT, Prompt
from lampc.runtime.types import Cell, TraceStep, Usage


class LMCalls:
    """See the module's text."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._encode = Encoded()
        self._owners: dict[Extend, str] = {}  # `predictor_of`
        self._places: dict[Parse, str] = {}  # in the user's source
        self._admissions: dict[Any, Admission] = {}
        self._contexts: dict[Any, RowContexts | None] = {}
        self._cells: Sequence[tuple[Cell, Executable]] = ()

    # -- of the executor ----------------------------------------------------------------------------

    def _resolve(self, block: Block, i: int, results: Sequence[Any]) -> None:
        """Op `i` of the block has its results."""
        raise NotImplementedError

    def _fail(self, scope: Scope, at: tuple[int, ...], failure: RowFailure) -> None:
        """The op at `at` failed."""
        raise NotImplementedError

    def _settle(self, scope: Scope) -> None:
        """End a scope that failed once nothing of it is under way."""
        raise NotImplementedError

    def _hearing(self, block: Block, i: int, model: ModelView) -> OnText | None:
        """Who hears the answer to op `i` of the block while it is written."""
        raise NotImplementedError

    # -- calls --------------------------------------------------------------------------------------

    def _extend(self, block: Block, op: Extend, args: list[Any]) -> ContextValue:
        from lampc.passes.lower.runs import run_text

        task, context = block.task, args[0]
        spot = (id(op), task.candidate)
        ids = task.exe.statics.get(spot)
        if ids is None:
            name = self._owners.get(op)
            if name is None:
                name = self._owners[op] = predictor_of(op, task.exe)
            text = run_text(op.run, task.bound[name], args[1:], context.model.target)
            ids = self._encode(context.model, text)
            if not op.inputs:
                task.exe.statics[spot] = ids
        grown: ContextValue = context.grown(ids)
        return grown

    def _draw(self, block: Block, key: Key) -> Draw:
        cell = block.task.cell
        return Draw(self.services.seed, Key(block.path + key.path), block.indices, cell.row.id, cell.rollout)

    def _generate(self, block: Block, i: int, op: Generate, context: ContextValue) -> None:
        def deliver(answer: Answer, usage: Usage) -> None:
            grown = context.grown(answer.ids)
            self._answered(block, i, answer, usage, lambda: self._resolve(block, i, [grown, _text(answer)]))

        bound = block.task.bound[op.predictor.name]
        model = context.model.asking(bound.layout, bound.signature, bool(op.closed))
        block.scope.pending += 1
        draw = self._draw(block, op.key)
        sampling, plan = _sampling(block, op.sampling), self._planned(block, op, context)
        hears, node = self._hearing(block, i, model), op.predictor.name
        self._call(model, context.ids, (), sampling, draw, deliver, node, block.scope, op, plan, hears)

    def _planned(self, block: Block, op: Generate | Score, context: ContextValue) -> Planned | None:
        """What is known of the K/V of a call, of an engine whose K/V can be planned."""
        model = context.model.model
        if model not in self._contexts:
            found = RowContexts.of(model) if isinstance(self.services.desk, Client) else None
            self._contexts[model] = found
            if found is not None:
                found.expect(self._cells)
        contexts, exe = self._contexts[model], block.task.exe
        if contexts is None:
            return None
        return contexts.plan(block, op, exe.later.get(op, ()), context)

    def _left(self, block: Block, i: int) -> None:
        """Op `i` of a block has ended, for whose sake contexts were held."""
        for contexts in self._contexts.values():
            if contexts is not None:
                contexts.left(block, i)

    def _call(
        self,
        model: ModelView,
        ids: tuple[int, ...],
        messages: tuple[tuple[str, str], ...],
        sampling: Sampling,
        draw: Draw,
        deliver: Deliver,
        node: str,
        scope: Scope,
        op: Op,
        plan: Planned | None = None,
        hears: OnText | None = None,
    ) -> None:
        """Ask for the answer that `op` needs, once the row may hold what that takes."""
        desk, task = self.services.desk, scope.task
        cache = getattr(model.model, "seats", model.model)  # models that share one share its room
        gate = self._admissions.get(cache)
        contexts = self._contexts.get(model.model) if plan is not None else None
        if gate is None:
            gate = self._admissions[cache] = Admission(getattr(model.model, "kv_tokens", 0))
        gated = bool(ids and gate.capacity)
        prompt = plan.prompt if plan is not None else Prompt.of(ids) if gated else NO_PROMPT
        shared = gate.shared(task, prompt.path) if gated else 0
        if contexts is not None and plan is not None:
            contexts.asked(plan, shared)
            shared = max(shared, plan.static)
            gate.know(contexts, bool(plan.keeps))
        depth = task.exe.calls_left.get(op, 0)
        ask = functools.partial(
            desk.request,
            model,
            sampling,
            draw,
            ids=ids,
            messages=messages,
            node=node,
            cell=task.number,
            depth=depth,
        )
        if hears is not None:
            ask = functools.partial(ask, hears=hears)
        if (unheard := scope.holding()) is not None:
            ask = functools.partial(ask, unheard=unheard)
        if not gated and plan is None and scope.outer is None:  # a whole task is never stopped
            ask(deliver, use=NOT_KNOWN)
            return
        waiting: Waiting | None = None

        def leave(written: tuple[int, ...] = ()) -> None:
            if contexts is not None and plan is not None:
                contexts.answered(plan, written)
            if gated:
                gate.answered(task, node, prompt.path, written)

        def ended(answer: Answer, usage: Usage) -> None:
            nonlocal waiting
            leave(answer.ids)
            if waiting is not None:
                scope.calls.pop(waiting, None)
                waiting = None  # which refers to this: cycles would be left to the garbage collector
            deliver(answer, usage)

        def go() -> None:
            nonlocal waiting
            if scope.over:  # it ended while the call waited for room
                leave()
                return
            use = NOT_KNOWN
            if plan is not None:
                if contexts is not None:
                    contexts.let_in(task)
                if waited:  # others may have asked meanwhile
                    plan.floor = max(plan.floor, gate.others(task, prompt.path))
                use = plan.use
            if scope.outer is None:
                ask(ended, use=use)
                return
            bet = scope.open_bet()
            waiting = ask(ended, provisional=bet is not None, use=use)
            if bet is not None:
                bet.calls.append(waiting)
            scope.calls[waiting] = leave

        waited = False
        if gated:
            gate.ask(task, node, prompt, go, shared)
        else:
            go()
        waited = True

    def _drop(self, scope: Scope) -> None:
        """Stop the calls of a scope that is over, and of those in it."""
        for waiting, leave in scope.calls.items():
            scope.book(self.services.desk.drop(waiting))
            leave()
        scope.calls.clear()
        for inner in scope.inner:
            inner.over = True
            self._drop(inner)

    def _score(self, block: Block, i: int, op: Score, context: ContextValue) -> None:
        scores: list[float | None] = [None] * len(op.options)

        def deliver(answer: Answer, usage: Usage, n: int) -> None:
            def resume() -> None:
                scores[n] = answer.score
                if None not in scores:
                    self._resolve(block, i, [scores])

            self._answered(block, i, answer, usage, resume)

        for n, option in enumerate(op.options):
            ids = self._encode(context.model, option)
            draw = Draw(self.services.seed, Key(()), block.indices, block.task.cell.row.id)
            done = functools.partial(deliver, n=n)
            block.scope.pending += 1
            cell = block.task.number
            bet = block.scope.open_bet()
            waiting = self.services.desk.request(
                context.model, Sampling(), draw, done, ids=context.ids, score=ids, cell=cell,
                provisional=bet is not None,
            )  # fmt: skip
            if bet is not None:
                bet.calls.append(waiting)
                block.scope.calls[waiting] = lambda: None

    def _request(self, block: Block, i: int, op: RequestOp, args: list[Any], proxied: bool = True) -> None:
        def deliver(answer: Answer, usage: Usage) -> None:
            text = Said(answer.text, turns, cut_of(answer)) if followed(op) else _text(answer)
            self._answered(block, i, answer, usage, lambda: self._resolve(block, i, [text]))

        bound = block.task.bound[op.predictor.name]
        if proxied and bound.cascade is not None:
            block.scope.pending += 1
            self._ask_proxy(block, i, op, args, bound)
            return
        model = self.services.model(bound.model).asking(bound.layout, bound.signature)
        before, args = (args[0].turns, args[1:]) if isinstance(op, Follow) else ((), args)
        turns = [*before, *bind_prompt(op.prompt, bound, args, model.target.quote)]
        block.scope.pending += 1
        draw = self._draw(block, op.key)
        self._send(model, turns, _sampling(block, op.sampling), draw, deliver, op.predictor.name, block.scope, op)

    def _ask_proxy(self, block: Block, i: int, op: RequestOp, args: list[Any], bound: Bound) -> None:
        """Ask the cheap model of a cascade, and if its answer does not stand the other one."""
        asked = proxy_of(bound)
        model = self.services.model(asked.model).asking(bound.layout, bound.signature, closed=False).scoring()
        turns = bind_prompt(op.prompt, asked, args, model.target.quote)
        scope = block.scope

        def deliver(answer: Answer, usage: Usage) -> None:
            scope.book(usage)
            scope.pending -= 1
            if scope.wants(block, i):
                if stands(bound, answer):
                    self._resolve(block, i, [Scored(answer.text, answer.score)])
                else:
                    self._request(block, i, op, args, proxied=False)
            self._settle(scope)

        draw = self._draw(block, op.key)
        self._send(model, turns, _sampling(block, op.sampling), draw, deliver, proxy_node(bound.name), scope, op)

    def _send(
        self,
        model: ModelView,
        turns: Sequence[tuple[str, str]],
        sampling: Sampling,
        draw: Draw,
        deliver: Deliver,
        node: str,
        scope: Scope,
        op: Op,
    ) -> None:
        """Ask for the answer to a conversation."""
        ids: tuple[int, ...] = ()
        if model.target.local:
            ids = self._encode(model, model.target.render_chat(turns))
        self._call(model, ids, () if ids else tuple(turns), sampling, draw, deliver, node, scope, op)

    def _answered(self, block: Block, i: int, answer: Answer, usage: Usage, resume: Callable[[], None]) -> None:
        """Book the answer to op `i`, and go on with it if it is still wanted."""
        scope = block.scope
        scope.book(usage)
        scope.pending -= 1
        if answer.error:
            failure = RowFailure(answer.error, block.plan.region.ops[i], "model")
            failure.__cause__ = answer.exception
            self._fail(scope, (*block.order, i), failure)
        elif scope.wants(block, i):
            resume()
        self._settle(scope)

    # -- answers --------------------------------------------------------------------------------------

    def _parse(self, block: Block, i: int, op: Parse, args: list[Any]) -> None:
        text, *values = args
        try:
            self._read(block, i, op, values, adapter(op.layout).parse(op.signature, text), text)
        except ParseFailure as e:
            bound = replace(block.task.bound[op.predictor.name], signature=op.signature, layout=op.layout)
            inputs = dict(zip((f.name for f in op.signature.inputs), values, strict=False))
            quote = self.services.model(bound.model).target.quote
            cut = text.cut if isinstance(text, Cut | Said) else ""
            self._ask_again(block, i, op, values, [first_round(bound, inputs, quote)], e, cut)

    def _read(self, block: Block, i: int, op: Parse, values: list[Any], outputs: dict[str, Any], text: str) -> None:
        given = {f.name: v for f, v in zip(op.signature.inputs, values, strict=False)}
        where = self._places.get(op)
        if where is None:
            where = self._places[op] = str(op.loc.origin() or "")
        step = TraceStep(op.predictor.name, given, outputs, text, where, score_of(text))
        block.scope.note(((*block.order, i), step))
        self._resolve(block, i, [outputs])

    def _ask_again(
        self,
        block: Block,
        i: int,
        op: Parse,
        values: list[Any],
        rounds: list[Round],
        failure: ParseFailure,
        cut: str,
    ) -> None:
        """The round that follows, if there is one; it draws as the call did whose answer could not be read."""
        asker = op.text.defining_op()
        given = {f.name: v for f, v in zip(op.signature.inputs, values, strict=False)}
        unreadable = UnreadableAnswer(rounds[0].bound, rounds[-1].bound.layout, failure, given, op, cut)
        model_of = self.services.model
        following = next_round(rounds[0].bound, rounds, failure, lambda name: model_of(name).target.quote)
        if following is None or not isinstance(asker, RequestOp | Generate):
            raise unreadable
        scope = block.scope

        def deliver(answer: Answer, usage: Usage) -> None:
            scope.book(usage)
            scope.pending -= 1
            try:
                if answer.error:
                    raise unreadable
                if scope.wants(block, i):
                    try:
                        self._read(block, i, op, values, following.read(answer.text), answer.text)
                    except ParseFailure as e:
                        self._ask_again(block, i, op, values, [*rounds, following], e, cut_of(answer))
            except RowFailure as e:
                self._fail(scope, (*block.order, i), e.at(op))
            self._settle(scope)

        scope.pending += 1
        draw = again(self._draw(block, asker.key), len(rounds))
        b = following.bound
        model = model_of(b.model).asking(b.layout, b.signature)
        sampling = _sampling(block, asker.sampling)
        self._send(model, following.turns, sampling, draw, deliver, op.predictor.name, block.scope, asker)


def _text(answer: Answer) -> str:
    cut = cut_of(answer)
    return Cut(answer.text, cut) if cut else answer.text


def _sampling(block: Block, sampling: Sampling) -> Sampling:
    return at_temperature(sampling, block.task.cell.temperature)
