"""Calls of predictors whose answers are read: what cannot be read is asked for again, all of a batch together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from lampc.ir import Draw, Module, Sampling
from lampc.ir.adapters import Bound, ParseFailure, adapter
from lampc.ir.adapters.lengths import call_sampling
from lampc.ir.adapters.rounds import Round, again, first_round, next_round
from lampc.ir.errors import LMError
from lampc.runtime.cascades import Scored, proxy_node, proxy_of, stands
from lampc.runtime.client import Client
from lampc.runtime.failures import RowFailure, UnreadableAnswer, cut_of
from lampc.runtime.remote import text_turn, turn_of
from lampc.runtime.types import Usage

if TYPE_CHECKING:
    from lampc.ir import Target
    from lampc.runtime.making import Awaiter
    from lampc.runtime.models import Answer
    from lampc.runtime.session import Session

PredictorCall: TypeAlias = tuple[Bound, Mapping[str, Any], Sampling, Draw]
Messages: TypeAlias = Sequence[Mapping[str, Any]]


@dataclass(slots=True)
class Reading:
    """What became of a call: its outputs, or the exception that says why there are none. `text` is the last answer."""

    outputs: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    usage: Usage = Usage()
    error: Exception | None = None


class Verbatim(Round):
    """A call whose messages somebody has written, who also reads its answer."""

    def read(self, text: str) -> dict[str, Any]:
        return {}


def read_calls(
    session: Session,
    calls: Sequence[PredictorCall],
    written: Sequence[Messages | None] = (),
    awaiters: Sequence[Awaiter | None] = (),
    module: Module | None = None,
) -> list[Reading]:
    """Make calls together and read their answers; readings in the order of the calls, failures inside them. What of
    `written` is not None is sent in the place of what the layout writes, and its answer is not read; `awaiters` are
    the tasks that await. Models are those that `module` means by their names."""
    out = [Reading() for _ in calls]
    rounds: list[list[Round]] = []
    for i, (reading, (bound, inputs, _, _)) in enumerate(zip(out, calls, strict=True)):
        try:
            target, messages = session.models.get(bound.model, module).target, written[i] if written else None
            if messages is None:
                rounds.append([first_round(bound, inputs, target.quote)])
            else:
                rounds.append([Verbatim(bound, _turns(messages, target), inputs)])
        except (RowFailure, LMError) as e:
            reading.error = e
            rounds.append([])
    open_ = [i for i, r in enumerate(rounds) if r]
    asks_two = [i for i in open_ if calls[i][0].cascade is not None and not isinstance(rounds[i][0], Verbatim)]
    if asks_two:
        settled = _ask_proxies(session, out, calls, asks_two, awaiters, module)
        open_ = [i for i in open_ if i not in settled]
    while open_:
        asked = [(rounds[i][-1], calls[i], len(rounds[i]) - 1, awaiters[i] if awaiters else None) for i in open_]
        answers = _ask(session, asked, module)
        more = [_settle(session, out[i], calls[i], rounds[i], *a, module) for i, a in zip(open_, answers, strict=True)]
        open_ = [i for i, go_on in zip(open_, more, strict=True) if go_on]
    return out


def _ask_proxies(
    session: Session,
    out: Sequence[Reading],
    calls: Sequence[PredictorCall],
    places: Sequence[int],
    awaiters: Sequence[Awaiter | None],
    module: Module | None,
) -> set[int]:
    """Ask the cheap models of cascades; the places whose answers stand."""
    answers: list[tuple[Answer, Usage] | None] = [None] * len(places)
    with Client(session.desk) as client:
        for n, i in enumerate(places):
            bound, inputs, sampling, draw = calls[i]
            asked = proxy_of(bound)
            view = session.models.get(asked.model, module).asking(bound.layout, bound.signature, closed=False).scoring()
            turns = first_round(asked, inputs, view.target.quote).turns
            target = session.models.get(bound.model, module).target
            drawn, node = call_sampling(bound.signature, bound.layout, sampling, target), proxy_node(bound.name)
            awaiter = awaiters[i] if awaiters else None
            session.request(client, answers, n, view, turns, drawn, draw, node, awaiter)
        client.finish()
    settled = set()
    for i, (answer, usage) in zip(places, (a for a in answers if a is not None), strict=True):
        out[i].usage += usage
        if stands(calls[i][0], answer):
            out[i].text = Scored(answer.text, answer.score)
            out[i].outputs = adapter(calls[i][0].layout).parse(calls[i][0].signature, answer.text)
            settled.add(i)
    return settled


def _turns(messages: Messages, target: Target) -> list[tuple[str, str]]:
    """Messages as turns; for a model on this machine all of their text is data."""
    turns = [turn_of(m) for m in messages]
    return [(r, target.quote(c)) for r, c in (text_turn(t, target.info.name) for t in turns)] if target.local else turns


def _ask(
    session: Session, asked: Sequence[tuple[Round, PredictorCall, int, Awaiter | None]], module: Module | None
) -> list[tuple[Answer, Usage]]:
    answers: list[tuple[Answer, Usage] | None] = [None] * len(asked)
    with Client(session.desk) as client:
        for i, (round_, (bound, _, sampling, draw), n, awaiter) in enumerate(asked):
            model = session.models.get(round_.bound.model, module).asking(round_.bound.layout, round_.bound.signature)
            target = session.models.get(bound.model, module).target
            drawn = call_sampling(bound.signature, bound.layout, sampling, target)
            session.request(client, answers, i, model, round_.turns, drawn, again(draw, n), bound.name, awaiter)
        client.finish()
    return [a for a in answers if a is not None]


def _settle(
    session: Session,
    reading: Reading,
    call: PredictorCall,
    rounds: list[Round],
    answer: Answer,
    usage: Usage,
    module: Module | None,
) -> bool:
    """Take an answer in; whether there is one more round."""
    bound = call[0]
    reading.usage += usage
    if answer.error:
        failed = reading.error  # of the round before: that tells more
        reading.error = failed or answer.exception or RowFailure(answer.error, kind="model")
        return False
    reading.text, reading.error = answer.text, None
    try:
        reading.outputs = rounds[-1].read(answer.text)
        return False
    except ParseFailure as e:
        reading.error = UnreadableAnswer(bound, rounds[-1].bound.layout, e, call[1], cut=cut_of(answer))
        following = next_round(bound, rounds, e, lambda name: session.models.get(name, module).target.quote)
        if following is not None:
            rounds.append(following)
        return following is not None
