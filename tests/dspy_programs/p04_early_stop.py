"""A loop that stops when the model says it knows enough: mutation of a list and `break`."""

import dspy


class Notes(dspy.Signature):
    """Take one more note, and say whether the notes suffice."""

    claim: str = dspy.InputField()
    notes: list[str] = dspy.InputField()
    new_note: str = dspy.OutputField()
    enough: bool = dspy.OutputField()


class Research(dspy.Module):
    def __init__(self, max_rounds=4):
        super().__init__()
        self.max_rounds = max_rounds
        self.take = dspy.Predict(Notes)
        self.conclude = dspy.ChainOfThought("claim, notes: list[str] -> verdict: bool")

    def forward(self, claim):
        notes = []
        rounds = 0
        for _ in range(self.max_rounds):
            step = self.take(claim=claim, notes=notes)
            notes.append(step.new_note)
            rounds += 1
            if step.enough:
                break
        verdict = self.conclude(claim=claim, notes=notes).verdict
        return dspy.Prediction(notes=notes, rounds=rounds, verdict=verdict)


def build():
    return Research()


INPUTS = [{"claim": "The moon is far."}, {"claim": "Bread is old."}, {"claim": "Ships sink."}]
MODE = "static"
