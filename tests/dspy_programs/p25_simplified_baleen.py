"""Signatures edited in code, a loop over modules, and a final vote by Python."""

from collections import Counter

import dspy


def most_common(answers: list[str]) -> str:
    return Counter(answers).most_common(1)[0][0]


class Ensemble(dspy.Module):
    def __init__(self, styles=("brief", "formal", "playful")):
        super().__init__()
        base = dspy.Signature("question -> answer")
        self.members = [dspy.Predict(base.with_instructions(f"Answer in a {s} way.")) for s in styles]
        self.final = dspy.Predict(
            base.append("candidates", dspy.InputField(desc="what others said"), type_=list[str]).prepend(
                "thought", dspy.OutputField(desc="think first"), type_=str
            )
        )

    def forward(self, question):
        candidates = []
        for member in self.members:
            candidates.append(member(question=question).answer)  # noqa: PERF401
        pred = self.final(question=question, candidates=candidates)
        return dspy.Prediction(answer=pred.answer, vote=most_common(candidates), thought=pred.thought)


def build():
    return Ensemble()


INPUTS = [{"question": "What is tea?"}]
MODE = "static"
