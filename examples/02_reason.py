"""Chain of thought: the model writes its steps before the answer."""

import lampc


class Solve(lampc.Signature):
    """Think step by step and compute the number."""

    question: str = lampc.InputField()
    answer: int = lampc.OutputField()


class Reason(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.solve = lampc.ChainOfThought(Solve)

    def forward(self, question: str) -> lampc.Prediction:
        out = self.solve(question=question)
        return lampc.Prediction(answer=out.answer, reasoning=out.reasoning)


program = Reason()

stories = lampc.dataset(
    "stories", "data/02_stories.csv", columns="question: str, reasoning: str, answer: int", split="split"
)


@lampc.metric(fields=("answer", "answer"))
def correct(gold: int, pred: int) -> float:
    return 1.0 if gold == pred else 0.0


lampc.optimize(
    program,
    ("bootstrap", {"max_bootstrapped_demos": 2, "max_labeled_demos": 4}),
    train=stories.train,
    select=stories.dev,
    metric=correct,
    save="02_reason.lampc",
)

lampc.test(
    "the steps are given beside the answer",
    program,
    {"question": "ann has 3 pens , finds 4 , sells 2 . how many pens ?"},
    mock={"solve": {"reasoning": "3 plus 4 is 7 , 7 minus 2 is 5", "answer": 5}},
    expect=lambda outputs, stats: outputs.answer == 5 and "7 minus 2" in outputs.reasoning,
)
