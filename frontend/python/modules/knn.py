"""`KNN`: the examples nearest to given inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lampc.frontend.python.example import Example


class KNN:
    """`KNN(k, trainset, vectorizer)(question="...")` gives the `k` nearest examples, nearest first.

    `vectorizer` turns texts into vectors (one row each, as numpy has them); an example's text is its inputs as
    `name: value`, joined by ` | `. Nearness is the dot product. Raises ValueError for examples without inputs.
    """

    def __init__(self, k: int, trainset: Sequence[Example], vectorizer: Callable[[list[str]], Any]) -> None:
        import numpy as np

        self.k = k
        self.trainset = list(trainset)
        self.embedding = vectorizer
        texts = [_text(e.inputs()) for e in self.trainset]
        self.trainset_vectors = np.asarray(vectorizer(texts), dtype=np.float32)

    def __call__(self, **inputs: Any) -> list[Example]:
        return [self.trainset[i] for i in self.nearest(**inputs)]

    def nearest(self, **inputs: Any) -> list[int]:
        """Places in the trainset of the nearest examples, nearest first."""
        import numpy as np

        wanted = np.asarray(self.embedding([_text(inputs)]))
        scores = np.atleast_1d(np.dot(self.trainset_vectors, wanted.T).squeeze())
        return [int(i) for i in scores.argsort()[-self.k :][::-1]]


def _text(inputs: Mapping[str, Any] | Example) -> str:
    return " | ".join(f"{name}: {value}" for name, value in inputs.items())
