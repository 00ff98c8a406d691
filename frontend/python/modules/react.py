"""`ReAct` (Yao et al., arXiv 2210.03629) in text form: a thought, a tool, its observation, until the task is done.

Instructions, field names and the text of the trajectory are DSPy 3.4's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from lampc.frontend.python.example import Prediction
from lampc.frontend.python.fields import InputField, OutputField
from lampc.frontend.python.module import Module
from lampc.frontend.python.modules.graph import act, numbered, shown
from lampc.frontend.python.modules.observe import observation
from lampc.frontend.python.predict import ChainOfThought, Predict
from lampc.frontend.python.signature import ensure_signature, make_signature
from lampc.frontend.python.tools.tool import Tool
from lampc.frontend.python.values.plain import plain_in_text
from lampc.ir.adapters.blocks import blocks
from lampc.ir.errors import ContextWindowExceededError

logger = logging.getLogger(__name__)

FINISH = "finish"
STEP = ("thought", "tool_name", "tool_args", "observation")
"""What a trajectory holds of each round, each name followed by the round's number."""
_TRUNCATIONS = 3


def completed() -> str:
    """The tool that ends the loop."""
    return "Completed."


class ReAct(Module):
    """An agent: rounds of `react` choose tools until it chooses `finish`, then `extract` reads the outputs.

    Calls take the signature's inputs, and `max_iters=` for that call. What a tool raises is its observation. Where
    the prompt no longer fits the model, the oldest round is dropped (`truncate_trajectory` may be overridden), at
    most three times. Gives the outputs and `trajectory`.
    """

    def __init__(self, signature: Any, tools: Sequence[Callable[..., Any] | Tool], max_iters: int = 20) -> None:
        super().__init__()
        self.signature = ensure_signature(signature)
        self.max_iters = max_iters
        made = [t if isinstance(t, Tool) else Tool(t) for t in tools]
        self.tools = {t.name: t for t in made}
        inputs, outputs = self.signature.input_fields, self.signature.output_fields
        self.tools[FINISH] = Tool(completed, FINISH, finish_text(list(outputs)), {})
        fields = {n: (f.annotation, f) for n, f in inputs.items()}
        instructions = agent_text(self.signature.instructions, list(inputs), list(outputs), self.tools.values())
        choose: Any = make_signature(fields, instructions)
        choose = choose.append("trajectory", InputField(), str).append("next_thought", OutputField(), str)
        choose = choose.append("next_tool_name", OutputField(), Literal[tuple(self.tools)])
        self.react = Predict(choose.append("next_tool_args", OutputField(), dict[str, Any]))
        both = {n: (f.annotation, f) for n, f in {**inputs, **outputs}.items()}
        read: Any = make_signature(both, self.signature.instructions)
        self.extract = ChainOfThought(read.append("trajectory", InputField(), str))

    def forward(self, **inputs: Any) -> Prediction:
        rounds = inputs.pop("max_iters", self.max_iters)
        trajectory: dict[str, Any] = {}
        for i in range(rounds):
            try:
                chosen = self._fitting(self.react, trajectory, inputs)
            except ContextWindowExceededError as e:
                logger.warning("the trajectory ends: %s", e)
                break
            name, args = chosen.next_tool_name, chosen.next_tool_args
            seen = observation(self.tools[name], args)
            trajectory.update(zip((f"{s}_{i}" for s in STEP), (chosen.next_thought, name, args, seen), strict=True))
            if name == FINISH:
                break
        return Prediction(trajectory=trajectory, **self._fitting(self.extract, trajectory, inputs))

    _graph_stands_for = ("truncate_trajectory", "trajectory_text")

    def _graph(self, max_iters: int | None = None, **inputs: Any) -> Prediction:
        """`forward` as it is traced: a round that does not fit the model's context fails the row."""
        layout = self.react.layout_in_force()
        steps: list[dict[str, Any]] = []
        for _ in range(self.max_iters if max_iters is None else max_iters):
            chosen = self.react(**inputs, trajectory=shown(numbered(steps), layout))
            name, args = chosen.next_tool_name, chosen.next_tool_args
            seen = act(self.tools, name, args)
            steps.append({"thought": chosen.next_thought, "tool_name": name, "tool_args": args, "observation": seen})
            if name == FINISH:
                break
        trajectory = numbered(steps)
        found = self.extract(**inputs, trajectory=shown(trajectory, layout))
        return Prediction(trajectory=trajectory, **found)

    def _fitting(self, module: Module, trajectory: dict[str, Any], inputs: Mapping[str, Any]) -> Any:
        """Call with the trajectory, without its oldest rounds where the whole does not fit."""
        for _ in range(_TRUNCATIONS):
            try:
                return module(**inputs, trajectory=self.trajectory_text(trajectory))
            except ContextWindowExceededError as e:
                logger.warning("the trajectory does not fit the model's context: its oldest round is dropped")
                last = e
                trajectory = self.truncate_trajectory(trajectory)
        raise ContextWindowExceededError(
            f"the prompt does not fit the model's context, not even {_TRUNCATIONS - 1} rounds shorter"
        ) from last

    def trajectory_text(self, trajectory: Mapping[str, Any]) -> str:
        """The trajectory as the layout shows fields to a model."""
        return blocks({n: plain_in_text(v) for n, v in trajectory.items()}, self.react.layout_in_force())

    def truncate_trajectory(self, trajectory: dict[str, Any]) -> dict[str, Any]:
        """Without its oldest round. Raises ContextWindowExceededError if there is no other."""
        if len(trajectory) <= len(STEP):
            raise ContextWindowExceededError("the prompt does not fit the model's context, not even with one round")
        for name in list(trajectory)[: len(STEP)]:
            del trajectory[name]
        return trajectory


def finish_text(outputs: Sequence[str]) -> str:
    """What the model is told of `finish`."""
    names = ", ".join(f"`{n}`" for n in outputs)
    return (
        "Marks the task as complete. That is, signals that all information for producing the outputs, "
        f"i.e. {names}, are now available to be extracted."
    )


def agent_text(task: str, inputs: Sequence[str], outputs: Sequence[str], tools: Any) -> str:
    """The instruction of the predictor that chooses tools."""
    given, wanted = (", ".join(f"`{n}`" for n in names) for names in (inputs, outputs))
    lines = [f"{task}\n"] if task else []
    lines += [
        f"You are an Agent. In each episode, you will be given the fields {given} as input. "
        "And you can see your past trajectory so far.",
        "Your goal is to use one or more of the supplied tools to collect any necessary information for producing "
        f"{wanted}.\n",
        "To do this, you will interleave next_thought, next_tool_name, and next_tool_args in each turn, "
        "and also when finishing the task.",
        "After each tool call, you receive a resulting observation, which gets appended to your trajectory.\n",
        "When writing next_thought, you may reason about the current situation and plan for future steps.",
        "When selecting the next_tool_name and its next_tool_args, the tool must be one of:\n",
    ]
    lines += [f"({i}) {t}" for i, t in enumerate(tools, 1)]
    return "\n".join([*lines, "When providing `next_tool_args`, the value inside the field must be in JSON format"])
