"""Classification with a Literal, then a branch with early return."""

from typing import Literal

import dspy


class Emotion(dspy.Signature):
    """Classify emotion."""

    sentence: str = dspy.InputField()
    sentiment: Literal["sadness", "joy", "love", "anger", "fear", "surprise"] = dspy.OutputField()


class Triage(dspy.Module):
    def __init__(self):
        super().__init__()
        self.classify = dspy.Predict(Emotion)
        self.comfort = dspy.Predict("sentence, sentiment -> reply")

    def forward(self, sentence):
        sentiment = self.classify(sentence=sentence).sentiment
        if sentiment in ("joy", "love"):
            return dspy.Prediction(sentiment=sentiment, reply="How nice!")
        reply = self.comfort(sentence=sentence, sentiment=sentiment).reply
        return dspy.Prediction(sentiment=sentiment, reply=reply)


def build():
    return Triage()


INPUTS = [{"sentence": s} for s in ("I lost my keys", "What a day", "They left", "I won", "Rain again")]
MODE = "static"
