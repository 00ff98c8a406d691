"""One call: a list of words gets a label. Nothing here says what the label is about; only the rows of the table
do. So the optimizer has to find the demos and the words that make a model see it."""

import lampc


class Classify(lampc.Signature):
    """Complete the task."""

    text: str = lampc.InputField()
    label: str = lampc.OutputField()


class Classifier(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classify = lampc.Predict(Classify)

    def forward(self, text: str) -> lampc.Prediction:
        answer = self.classify(text=text)
        return lampc.Prediction(label=answer.label)


program = Classifier()

words = lampc.dataset("words", "data/01_words.csv", columns={"text": str, "label": str}, split="split")


@lampc.metric
def accuracy(gold: str, pred: str) -> float:
    return lampc.exact_match(gold, pred)


lampc.optimize(
    program,
    ("bootstrap", {"max_bootstrapped_demos": 4, "max_labeled_demos": 8}),
    ("instructions", {"pool": "data/01_words_pool.txt"}),
    train=words.train,
    select=words.dev,
    metric=accuracy,
    save="01_classify.lampc",
)

lampc.test(
    "one call, whose label is the program's",
    program,
    {"text": "purple hammer shirt"},
    mock={"classify": {"label": "hammer"}},
    expect=[lambda outputs, stats: outputs.label == "hammer", lambda outputs, stats: stats.calls == 1],
)
