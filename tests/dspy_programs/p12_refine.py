"""Attempts with advice between them."""

import dspy


class QA(dspy.Module):
    def __init__(self):
        super().__init__()
        self.qa = dspy.ChainOfThought("question -> answer")
        self.check = dspy.Predict(dspy.Signature("question, answer -> final_answer", "Shorten it."))

    def forward(self, question):
        draft = self.qa(question=question)
        return self.check(question=question, answer=draft.answer)


def short(args, pred):
    return 1.0 if len(pred.final_answer) < 6 else 0.0


def build():
    return dspy.Refine(module=QA(), N=3, reward_fn=short, threshold=1.0)


INPUTS = [{"question": "What is the capital of Belgium?"}]
MODE = "eager: advice is written from the trace of the attempt before"
IN_TURN = [
    {"reasoning": "a", "answer": "far too long"},
    {"final_answer": "still too long"},
    {"discussion": "too long", "advice": {"qa.predict": "be brief"}},
    {"reasoning": "b", "answer": "shorter"},
    {"final_answer": "short no"},
    {"discussion": "nearly", "advice": {"qa.predict": "briefer", "check": "one word"}},
    {"reasoning": "c", "answer": "short"},
    {"final_answer": "short"},
]
