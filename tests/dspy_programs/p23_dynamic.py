"""Attributes found by name at run time: what cannot be followed runs as plain Python, its calls in batches."""

import dspy


class Pipeline(dspy.Module):
    def __init__(self, stages):
        super().__init__()
        self.names = []
        for i, signature in enumerate(stages):
            setattr(self, f"stage_{i}", dspy.Predict(signature))
            self.names.append(f"stage_{i}")
        self.seen = {}

    def forward(self, text):
        for name in self.names:
            text = getattr(self, name)(text=text).text_out
        self.seen[text] = len(self.seen)
        return dspy.Prediction(text=text)


def build():
    return Pipeline(["text -> text_out", "text -> text_out"])


INPUTS = [{"text": "start"}, {"text": "again"}]
MODE = "eager: it keeps state in the module between calls"
