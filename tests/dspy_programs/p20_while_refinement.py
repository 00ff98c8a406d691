"""A draft that is criticised until it is good enough: `while`, counters and early return."""

import dspy


class Critique(dspy.Signature):
    """Criticise the draft and score it from 0 to 10."""

    draft: str = dspy.InputField()
    critique: str = dspy.OutputField()
    score: int = dspy.OutputField()


class Writer(dspy.Module):
    def __init__(self):
        super().__init__()
        self.draft = dspy.Predict("topic -> draft")
        self.critic = dspy.ChainOfThought(Critique)
        self.revise = dspy.Predict("draft, critique -> better_draft")

    def forward(self, topic):
        draft = self.draft(topic=topic).draft
        scores = []
        tries = 0
        while tries < 3:
            review = self.critic(draft=draft)
            scores = [*scores, review.score]
            if review.score >= 7:
                return dspy.Prediction(draft=draft, scores=scores, done=True)
            draft = self.revise(draft=draft, critique=review.critique).better_draft
            tries += 1
        return dspy.Prediction(draft=draft, scores=scores, done=False)


def build():
    return Writer()


INPUTS = [{"topic": t} for t in ("tea", "rain", "wool")]
MODE = "static"
