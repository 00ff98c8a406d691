"""Several samples of one call, and their majority."""

import dspy


class Vote(dspy.Module):
    def __init__(self):
        super().__init__()
        self.solve = dspy.ChainOfThought("problem -> answer", n=3)

    def forward(self, problem):
        solutions = self.solve(problem=problem)
        best = dspy.majority(solutions)
        return dspy.Prediction(answer=best.answer)


def build():
    return Vote()


INPUTS = [{"problem": "1 + 1"}]
MODE = "static"
IN_TURN = [{"reasoning": r, "answer": a} for r, a in (("x", "3"), ("y", "Two"), ("z", "two"))]
