"""Python between calls: sorting, f-strings, enumerate, helper functions, dict assignment."""

import dspy


def label(i: int, text: str) -> str:
    return f"[{i}] {text}"


class Rank(dspy.Module):
    def __init__(self):
        super().__init__()
        self.score = dspy.Predict("query, candidate -> relevance: float")
        self.answer = dspy.ChainOfThought("query, ranked: list[str] -> answer")

    def forward(self, query, candidates: list[str]):
        scores = [self.score(query=query, candidate=c).relevance for c in candidates]
        numbered = [label(i, c) for i, c in enumerate(candidates)]
        stats = {"n": len(candidates)}
        stats["best"] = max(scores)
        keep = [c for c, s in zip(numbered, scores) if s >= stats["best"] / 2]
        pred = self.answer(query=query.strip().lower(), ranked=keep)
        return dspy.Prediction(answer=pred.answer, kept=len(keep), **stats)


def build():
    return Rank()


INPUTS = [{"query": " Tea? ", "candidates": ["black", "green", "none"]}]
MODE = "static"
