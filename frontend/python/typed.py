"""For type checkers alone: what the answer to a signature in class form is.

    class QA(lampc.Signature):
        question: str = lampc.InputField()
        answer: str = lampc.OutputField()

    lampc.Predict(QA)(question="...").answer     # str
    lampc.Predict(QA)(question="...").anwser     # an error: `QA` has no attribute `anwser`

A checker takes the answer for an instance of the signature's class, whose attributes are the declared fields. It is a
`Prediction`, whose own methods are declared here, without the `__getattr__` by which a `Prediction` has any name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    class Answer:
        """What a `Prediction` has besides its outputs, and the `reasoning` of `ChainOfThought`. All are `Any`, so
        that a signature may have fields of these names."""

        reasoning: Any
        completions: Any
        keys: Any
        values: Any
        items: Any
        get: Any
        copy: Any
        toDict: Any
        inputs: Any
        labels: Any
        without: Any
        with_inputs: Any
        get_lm_usage: Any
        set_lm_usage: Any

        def __getitem__(self, name: str) -> Any: ...
        def __contains__(self, name: object) -> bool: ...
        def __float__(self) -> float: ...
