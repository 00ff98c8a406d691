"""A predictor over a class signature, wrapped in a module."""

import dspy


class BasicQA(dspy.Signature):
    """Answer questions with short factoid answers."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField(desc="often between 1 and 5 words")


class QA(dspy.Module):
    def __init__(self):
        super().__init__()
        self.generate_answer = dspy.ChainOfThought(BasicQA)

    def forward(self, question):
        return self.generate_answer(question=question)


def build():
    return QA()


INPUTS = [{"question": "Who wrote Hamlet?"}, {"question": "What is 3 * 4?"}]
MODE = "static"
