"""A branch and a loop: orders are shortened word by word until one is left, other messages are kept as they are."""

from typing import Literal

import lampc

Kind = Literal["question", "order", "complaint"]


class Sort(lampc.Signature):
    """Classify the text as question, order or complaint."""

    text: str = lampc.InputField()
    kind: Kind = lampc.OutputField()


class Shorten(lampc.Signature):
    """Remove the first word and say if one word is left."""

    text: str = lampc.InputField()
    rest: str = lampc.OutputField()
    done: bool = lampc.OutputField()


class Requests(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sort = lampc.Predict(Sort)
        self.shorten = lampc.Predict(Shorten)

    def forward(self, text: str) -> lampc.Prediction:
        found = self.sort(text=text)
        kind = found.kind
        note, steps = text, 0
        if kind == "order":
            words, count = text, 0
            for _ in range(8):
                step = self.shorten(text=words)
                rest = step.rest
                more = count + 1
                words, count = rest, more
                if step.done:
                    break
            note, steps = words, count
        return lampc.Prediction(kind=kind, note=note, steps=steps)


program = Requests()

requests = lampc.dataset("requests", "data/05_requests.csv", columns={"text": str, "kind": Kind}, split="split")


@lampc.metric
def accuracy(gold: str, pred: str) -> float:
    return lampc.exact_match(gold, pred)


lampc.optimize(
    program,
    ("labeled", {"k": 4}),
    train=requests.train,
    select=requests.dev,
    metric=accuracy,
    save="05_branch_loop.lampc",
)

lampc.test(
    "an order goes through the loop until the model is done",
    program,
    {"text": "we take two pens please"},
    mock={"sort": {"kind": "order"}, "shorten": {"rest": "please", "done": True}},
    expect=[
        lambda outputs, stats: outputs.note == "please" and outputs.steps == 1,
        lambda outputs, stats: stats.calls == 2,
    ],
)

lampc.test(
    "a question does not",
    program,
    {"text": "where is the pen made"},
    mock={"sort": {"kind": "question"}},
    expect=[
        lambda outputs, stats: outputs.note == "where is the pen made" and outputs.steps == 0,
        lambda outputs, stats: stats.calls_of.shorten == 0,
    ],
)
