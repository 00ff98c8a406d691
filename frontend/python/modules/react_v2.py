"""`ReActV2`: an agent that calls tools in turns of a conversation, until it submits the outputs.

Instructions, field names and what a turn holds are DSPy 3.4's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from lampc.frontend.python.example import Prediction
from lampc.frontend.python.fields import InputField, OutputField
from lampc.frontend.python.module import Module
from lampc.frontend.python.modules.observe import error_text
from lampc.frontend.python.predict import Predict
from lampc.frontend.python.signature import ensure_signature, make_signature
from lampc.frontend.python.tools.tool import Tool
from lampc.ir.adapters import ParseFailure
from lampc.ir.errors import ContextWindowExceededError

logger = logging.getLogger(__name__)

SUBMIT = "submit"
_OUTPUTS = ("history", "termination_reason")
_INPUTS = ("history", "tools")
_ANEW = {"temperature": 0.7, "rollout_id": "forced"}
"""The prompt is that of the call before, whose answer was of no use: a greedy model would give it again."""


class ReActV2(Module):
    """An agent over a `History`: each turn it calls tools, and sees what came of them in the next.

    Calls take the signature's inputs, `history=` to go on with a conversation, and `max_iters=`. Gives the outputs,
    `history` (the one handed in stays as it was) and `termination_reason`: `submit`, or `forced_submit` after one last
    call when turns ran out, an answer could not be read, held no call, or no longer fitted the model. Raises ValueError
    for reserved names and if nothing is submitted at last.
    """

    def __init__(self, signature: Any, tools: Sequence[Callable[..., Any] | Tool], max_iters: int = 20) -> None:
        super().__init__()
        self.signature = ensure_signature(signature)
        self.max_iters = max_iters
        _refuse("outputs", _OUTPUTS, self.signature.output_fields)
        _refuse("inputs", _INPUTS, self.signature.input_fields)
        made = [t if isinstance(t, Tool) else Tool(t) for t in tools]
        self.tools = {t.name: t for t in made}
        if SUBMIT in self.tools:
            raise ValueError(f"`{SUBMIT}` is the tool that carries the outputs: call yours by another name")
        self.tools[SUBMIT] = self._submit()
        self.react = Predict(self._choosing())

    def _submit(self) -> Tool:
        from lampc.frontend.python.tools.schema import schema_of

        fields = self.signature.output_fields

        def submit(**outputs: Any) -> dict[str, Any]:
            missing = [n for n in fields if n not in outputs]
            if missing:
                raise ValueError(f"Missing required final output field(s): {', '.join(missing)}")
            return {n: outputs[n] for n in fields}

        types = {n: f.annotation for n, f in fields.items()}
        schemas = {n: schema_of(t) for n, t in types.items()}
        return Tool(submit, SUBMIT, "Submit the final outputs for the task.", schemas, types)

    def _choosing(self) -> Any:
        from lampc.frontend.python.tools.calls import ToolCalls
        from lampc.frontend.python.types.history import History
        from lampc.frontend.python.types.reasoning import Reasoning

        inputs, outputs = self.signature.input_fields, self.signature.output_fields
        fields: dict[str, Any] = {n: (_optional(f.annotation), InputField(desc=f.desc)) for n, f in inputs.items()}
        fields["history"] = (History, InputField())
        fields["tools"] = (list[Tool], InputField())
        fields["next_thought"] = (Reasoning, OutputField())
        fields["tool_calls"] = (ToolCalls, OutputField())
        given, wanted, names = (", ".join(f"`{n}`" for n in ns) for ns in (inputs, outputs, self.tools))
        lines = [
            self.signature.instructions,
            f"You are an Agent. Use the supplied tools to produce {wanted} from {given}.",
            "Call tools when more information is needed.",
            f"When the final answer is ready, call `submit` with {wanted}.",
            f"The available tools are: {names}.",
        ]
        return make_signature(fields, "\n".join(lines).strip())

    def forward(self, **inputs: Any) -> Prediction:
        from lampc.frontend.python.types.history import History

        rounds = inputs.pop("max_iters", self.max_iters)
        history = History.model_validate(inputs.pop("history", None) or {"messages": []})
        pending = {n: inputs[n] for n in self.signature.input_fields if n in inputs}
        reason = "max_iters"
        for i in range(rounds):
            try:
                chosen = self.react(history=history, tools=list(self.tools.values()), **pending)
                calls = _identified(chosen.tool_calls, i)
            except ContextWindowExceededError:
                reason = "context_window_exceeded"
                break
            except Exception as e:
                if not _unreadable(e):
                    raise
                logger.warning("the agent's answer cannot be read: %s", e)
                reason = "parse_error"
                break
            if not calls.tool_calls:
                reason = "empty_tool_calls"
                break
            event, outputs, _ = self._run(calls, chosen, pending)
            history, pending = history.with_turn(**event), {}
            if outputs is not None:
                return Prediction(**outputs, history=history, termination_reason=SUBMIT)
        return self._forced(history, pending, reason, rounds)

    def _forced(self, history: Any, pending: dict[str, Any], reason: str, turn: int) -> Prediction:
        """One last call, of which only what it submits counts."""
        config = _ANEW if reason in ("empty_tool_calls", "parse_error") else {}
        chosen = self.react(history=history, tools=list(self.tools.values()), config=config, **pending)
        calls = _identified(chosen.tool_calls, turn)
        kept = calls.model_copy(update={"tool_calls": [c for c in calls.tool_calls if c.name == SUBMIT]})
        if not kept.tool_calls:
            raise ValueError(f"the agent stopped ({reason}) and did not submit the outputs when it was asked to")
        event, outputs, errors = self._run(kept, chosen, pending)
        if outputs is None:
            raise ValueError(f"the agent stopped ({reason}), and what it submitted is wrong: {'; '.join(errors)}")
        return Prediction(**outputs, history=history.with_turn(**event), termination_reason="forced_submit")

    def _run(
        self, calls: Any, chosen: Any, pending: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any] | None, list[str]]:
        """(the turn, submitted outputs or None, errors) of calling tools in their order."""
        from lampc.frontend.python.tools.calls import ToolCallResults

        values: list[Any] = []
        wrong: list[bool] = []
        outputs: dict[str, Any] | None = None
        for call in calls.tool_calls:
            if call.name not in self.tools:
                values.append(f"Unknown tool: {call.name}")
                wrong.append(True)
                continue
            try:
                value = self.tools[call.name](**(call.args or {}))
            except Exception as e:
                values.append(error_text(call.name, e))
                wrong.append(True)
                continue
            values.append(value)
            wrong.append(False)
            if call.name == SUBMIT:
                outputs = value
        results = ToolCallResults.from_tool_calls_and_values(calls, values, wrong)
        event = {**pending}
        if chosen.next_thought is not None:
            event["next_thought"] = chosen.next_thought
        event["tool_calls"] = calls.model_copy(update={"tool_call_results": results})
        event.update(outputs or {})
        return event, outputs, [str(v) for v, bad in zip(values, wrong, strict=True) if bad]


def _refuse(what: str, reserved: Sequence[str], fields: Mapping[str, Any]) -> None:
    if taken := sorted(set(reserved) & set(fields)):
        names = ", ".join(f"`{n}`" for n in taken)
        raise ValueError(f"{what} may not be called {names}: ReActV2 has such fields itself; rename them")


def _optional(annotation: Any) -> Any:
    if type(None) in get_args(annotation):
        return annotation
    try:
        return annotation | None
    except TypeError:
        return annotation


def _identified(calls: Any, turn: int) -> Any:
    """The calls, each with an identity."""
    from lampc.frontend.python.tools.calls import ToolCalls

    given = ToolCalls.model_validate(calls if calls is not None else {"tool_calls": []})
    named = [
        c if c.id is not None else c.model_copy(update={"id": f"call_{turn}_{i}"})
        for i, c in enumerate(given.tool_calls)
    ]
    return ToolCalls(tool_calls=named)


def _unreadable(error: Exception) -> bool:
    """Whether the model's answer was the trouble."""
    return isinstance(error, ParseFailure | ValueError) or getattr(error, "kind", "") == "parse"
