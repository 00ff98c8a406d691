"""A trade of score against tokens: demos make the model right more often, and every one of them is paid for with
every message. The joint search weighs both: a point of score is worth 10 tokens a row."""

from typing import Literal

import lampc

Team = Literal["network", "hardware", "billing", "account"]


class Classify(lampc.Signature):
    """Complete the task."""

    text: str = lampc.InputField()
    label: Team = lampc.OutputField()


class Thrifty(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classify = lampc.Predict(Classify)

    def forward(self, text: str) -> lampc.Prediction:
        answer = self.classify(text=text)
        return lampc.Prediction(label=answer.label)


program = Thrifty()

tickets = lampc.dataset("tickets", "data/01_tickets.csv", columns={"text": str, "label": Team}, split="split")


@lampc.metric
def accuracy(gold: str, pred: str) -> float:
    return lampc.exact_match(gold, pred)


lampc.optimize(
    program,
    (
        "joint",
        {
            "tokens_per_point": 10,
            "trials": 32,
            "pool": "data/01_pool.txt",
            "instructions": 8,
            "demo_sets": 4,
            "layouts": ["compact"],
            "minibatch_size": 20,
            "full_steps": 8,
            "finals": 4,
        },
    ),
    train=tickets.train,
    select=tickets.dev,
    metric=accuracy,
    budget={"calls": 5000, "time": 600},
    save="06_trade.lampc",
)

lampc.test(
    "one call, whose label is the program's",
    program,
    {"text": "the modem is broken"},
    mock={"classify": {"label": "network"}},
    expect=[lambda outputs, stats: outputs.label == "network", lambda outputs, stats: stats.calls == 1],
)
