"""Retrieval-augmented generation over a small corpus searched by a plain function."""

import dspy

CORPUS = [
    "Paris is the capital of France.",
    "Rome is the capital of Italy.",
    "The Nile flows through Egypt.",
    "Hamlet is a play by Shakespeare.",
]


def search(query: str, k: int = 2) -> list[str]:
    words = set(query.lower().split())
    return sorted(CORPUS, key=lambda p: -len(words & set(p.lower().split())))[:k]


class RAG(dspy.Module):
    def __init__(self, num_docs=2):
        super().__init__()
        self.num_docs = num_docs
        self.respond = dspy.ChainOfThought("context, question -> response")

    def forward(self, question):
        context = search(question, k=self.num_docs)
        return self.respond(context=context, question=question)


def build():
    return RAG()


INPUTS = [{"question": "capital of France"}, {"question": "who wrote Hamlet"}]
MODE = "static"
