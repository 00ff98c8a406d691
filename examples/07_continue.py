"""Two calls in one context: who has just given a message its label is asked which word says so. The second prompt is
the first one, its answer, and a further question, so that nothing of it is computed twice."""

from typing import Literal

import lampc

Team = Literal["network", "hardware", "billing", "account"]


class Classify(lampc.Signature):
    """Complete the task."""

    text: str = lampc.InputField()
    label: Team = lampc.OutputField()


class Ask(lampc.Signature):
    """Answer the question."""

    question: str = lampc.InputField()
    answer: str = lampc.OutputField(max_tokens=8)


class Explained(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classify = lampc.Predict(Classify)
        self.ask = lampc.Predict(Ask)

    def forward(self, text: str) -> lampc.Prediction:
        found = self.classify(text=text)
        why = self.ask(question="which word says so ?", after=found)
        return lampc.Prediction(label=found.label, word=why.answer)


program = Explained()

tickets = lampc.dataset("tickets", "data/01_tickets.csv", columns={"text": str, "label": Team}, split="split")


@lampc.metric
def accuracy(gold: str, pred: str) -> float:
    return lampc.exact_match(gold, pred)


lampc.optimize(
    program,
    ("labeled", {"k": 4}),
    train=tickets.train,
    select=tickets.dev,
    metric=accuracy,
    save="07_continue.lampc",
)

lampc.test(
    "two calls",
    program,
    {"text": "the invoice is wrong"},
    mock={"classify": {"label": "billing"}, "ask": {"answer": "invoice"}},
    expect=[
        lambda outputs, stats: outputs.label == "billing" and outputs.word == "invoice",
        lambda outputs, stats: stats.calls == 2,
    ],
)
