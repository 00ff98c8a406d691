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
    from typing import Self

    from lampc.frontend.python.example import Completions

    class Answer:
        """Methods of a `Prediction`, and the `reasoning` that `ChainOfThought` adds."""

        reasoning: Any

        @property
        def completions(self) -> Completions: ...
        def keys(self) -> list[str]: ...
        def values(self) -> list[Any]: ...
        def items(self) -> list[tuple[str, Any]]: ...
        def get(self, name: str, default: Any = None) -> Any: ...
        def toDict(self) -> dict[str, Any]: ...
        def copy(self, **values: Any) -> Self: ...
        def get_lm_usage(self) -> Any: ...
        def __getitem__(self, name: str) -> Any: ...
        def __contains__(self, name: object) -> bool: ...
        def __float__(self) -> float: ...
