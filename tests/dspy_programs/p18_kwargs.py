"""`forward(**kwargs)`, handed on as it is."""

import dspy


class Passing(dspy.Module):
    def __init__(self):
        super().__init__()
        self.first = dspy.ChainOfThought("document, question -> evidence: list[str]")
        self.second = dspy.Predict("document, question, evidence: list[str] -> answer")

    def forward(self, **kwargs):
        evidence = self.first(**kwargs).evidence
        return self.second(evidence=evidence, **kwargs)


def build():
    return Passing()


INPUTS = [{"document": "A text.", "question": "Q?"}]
MODE = "static"
