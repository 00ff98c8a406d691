"""Modules in modules, three deep, each with its own predictors."""

import dspy


class Rewrite(dspy.Module):
    def __init__(self):
        super().__init__()
        self.rewrite = dspy.Predict("question -> clearer_question")

    def forward(self, question):
        return self.rewrite(question=question)


class Answer(dspy.Module):
    def __init__(self):
        super().__init__()
        self.rewriter = Rewrite()
        self.respond = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        better = self.rewriter(question=question).clearer_question
        return self.respond(question=better)


class Checked(dspy.Module):
    def __init__(self):
        super().__init__()
        self.qa = Answer()
        self.check = dspy.Predict("question, answer -> correct: bool")

    def forward(self, question):
        pred = self.qa(question=question)
        correct = self.check(question=question, answer=pred.answer).correct
        if not correct:
            pred = self.qa(question=f"{question} (think again)")
        return dspy.Prediction(answer=pred.answer, reasoning=pred.reasoning, correct=correct)


def build():
    return Checked()


INPUTS = [{"question": q} for q in ("Who?", "What?", "Where?", "When?")]
MODE = "static"
