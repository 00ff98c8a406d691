"""A router over a dict of modules."""

import dspy


class Router(dspy.Module):
    def __init__(self):
        super().__init__()
        self.route = dspy.Predict(dspy.Signature("query -> topic: Literal['math', 'history', 'other']", "Route it."))
        self.experts = {
            "math": dspy.ChainOfThought("query -> answer: int"),
            "history": dspy.ChainOfThought("query -> answer"),
        }
        self.fallback = dspy.Predict("query -> answer")

    def forward(self, query):
        topic = self.route(query=query).topic
        if topic == "math":
            return dspy.Prediction(topic=topic, answer=str(self.experts["math"](query=query).answer))
        elif topic == "history":
            return dspy.Prediction(topic=topic, answer=self.experts["history"](query=query).answer)
        return dspy.Prediction(topic=topic, answer=self.fallback(query=query).answer)


def build():
    return Router()


INPUTS = [{"query": q} for q in ("2 + 2", "Who was Caesar?", "Hello", "Sum it")]
MODE = "static"
