"""Several chains of thought, compared by one more call."""

import dspy


class Compare(dspy.Module):
    def __init__(self):
        super().__init__()
        self.tries = [dspy.ChainOfThought("question -> answer") for _ in range(3)]
        self.compare = dspy.MultiChainComparison("question -> answer", M=3)

    def forward(self, question):
        completions = [t(question=question) for t in self.tries]
        return self.compare(completions, question=question)


def build():
    return Compare()


INPUTS = [{"question": "Why is the sky blue?"}]
MODE = "static"
