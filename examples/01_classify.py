"""One call: a message gets a label. Nothing here says which of its problems the label is about; only the rows
of the table do. So the optimizer has to find the demos and the words that make a model see it."""

from typing import Literal

import lampc

Team = Literal["network", "hardware", "billing", "account"]


class Classify(lampc.Signature):
    """Complete the task."""

    text: str = lampc.InputField()
    label: Team = lampc.OutputField()


class Classifier(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classify = lampc.Predict(Classify)

    def forward(self, text: str) -> lampc.Prediction:
        answer = self.classify(text=text)
        return lampc.Prediction(label=answer.label)


program = Classifier()

tickets = lampc.dataset("tickets", "data/01_tickets.csv", columns={"text": str, "label": Team}, split="split")


@lampc.metric
def accuracy(gold: str, pred: str) -> float:
    return lampc.exact_match(gold, pred)


lampc.optimize(
    program,
    ("bootstrap", {"max_bootstrapped_demos": 4, "max_labeled_demos": 8}),
    ("instructions", {"pool": "data/01_pool.txt"}),
    train=tickets.train,
    select=tickets.dev,
    metric=accuracy,
    save="01_classify.lampc",
)

lampc.test(
    "one call, whose label is the program's",
    program,
    {"text": "the invoice is wrong"},
    mock={"classify": {"label": "billing"}},
    expect=[lambda outputs, stats: outputs.label == "billing", lambda outputs, stats: stats.calls == 1],
)
