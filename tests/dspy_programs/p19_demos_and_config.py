"""Demos on a predictor, and options given with a call."""

import dspy


class Tone(dspy.Module):
    def __init__(self):
        super().__init__()
        self.rate = dspy.Predict("text -> tone, stars: int")
        self.rate.demos = [
            dspy.Example(text="Great!", tone="happy", stars=5),
            dspy.Example(text="Hm.", tone="flat"),
        ]

    def forward(self, text):
        pred = self.rate(text=text, config={"temperature": 0.5, "max_tokens": 100})
        return dspy.Prediction(tone=pred.tone.upper(), low=pred.stars < 3)


def build():
    return Tone()


INPUTS = [{"text": "Fine, thanks."}, {"text": "Never again."}]
MODE = "static"
