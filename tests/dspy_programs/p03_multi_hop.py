"""Multi-hop retrieval: each hop writes a query from what was found so far."""

import dspy

CORPUS = [f"Fact {i} about {w}." for i, w in enumerate(["rivers", "kings", "ships", "stars", "bread", "rome"])]


def search(query: str) -> list[str]:
    n = sum(map(ord, query)) % len(CORPUS)
    return [CORPUS[n], CORPUS[(n + 1) % len(CORPUS)]]


def deduplicate(items: list[str]) -> list[str]:
    return list(dict.fromkeys(items))


class MultiHop(dspy.Module):
    def __init__(self, max_hops=3):
        super().__init__()
        self.max_hops = max_hops
        self.generate_query = [dspy.ChainOfThought("context, question -> query") for _ in range(max_hops)]
        self.generate_answer = dspy.ChainOfThought("context, question -> answer")

    def forward(self, question):
        context = []
        for hop in range(self.max_hops):
            query = self.generate_query[hop](context=context, question=question).query
            passages = search(query)
            context = deduplicate(context + passages)
        pred = self.generate_answer(context=context, question=question)
        return dspy.Prediction(context=context, answer=pred.answer)


def build():
    return MultiHop()


INPUTS = [{"question": "How old is the bread of kings?"}]
MODE = "static"
