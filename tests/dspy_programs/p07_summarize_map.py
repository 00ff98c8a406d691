"""Map and reduce: a summary of each part by a comprehension, then one of all."""

import dspy


class Summarizer(dspy.Module):
    def __init__(self):
        super().__init__()
        self.part = dspy.Predict("passage -> summary")
        self.whole = dspy.ChainOfThought("summaries: list[str] -> summary")

    def forward(self, passages: list[str]):
        summaries = [self.part(passage=p).summary for p in passages]
        return self.whole(summaries=summaries)


def build():
    return Summarizer()


INPUTS = [{"passages": ["One long text.", "Another text.", "A third."]}, {"passages": ["Only one."]}]
MODE = "static"
