"""Two hops with retrieval: who is meant is looked up first, then what was asked about that person."""

import lampc

facts = lampc.retriever("facts", "data/corpus.jsonl", field="text", k=3)


class Answer(lampc.Signature):
    """Answer the question from the facts."""

    context: list[str] = lampc.InputField()
    question: str = lampc.InputField()
    answer: str = lampc.OutputField()


class TwoHop(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = lampc.Predict(Answer)

    def forward(self, question: str) -> lampc.Prediction:
        who = question.replace("where does", "who is").replace(" live ?", " ?")
        kin = facts(who)
        person = self.read(context=kin, question=who)
        bridge = person.answer
        where = f"where does {bridge} live ?"
        homes = facts(where)
        home = self.read(context=homes, question=where)
        return lampc.Prediction(answer=home.answer, bridge=bridge)


program = TwoHop()

questions = lampc.dataset(
    "questions", "data/questions.csv", columns="question: str, answer: str, bridge: str", split="split"
)


@lampc.metric(fields=("answer", "answer"))
def overlap(gold: str, pred: str) -> float:
    return lampc.f1(gold, pred)


lampc.optimize(
    program,
    ("bootstrap", {"max_bootstrapped_demos": 2, "max_labeled_demos": 2}),
    train=questions.train,
    select=questions.dev,
    metric=overlap,
    save="03_two_hop.lampc",
)

lampc.test(
    "two look-ups, two readings",
    program,
    {"question": "where does the boss of cora live ?"},
    mock={"facts": ["uma lives in madrid"], "read": {"answer": "uma"}},
    expect=[
        lambda outputs, stats: outputs.bridge == "uma" and outputs.answer == "uma",
        lambda outputs, stats: stats.calls == 2 and stats.retrievals == 2,
    ],
)
