"""A chat over a history that is handed in."""

import dspy


class Chat(dspy.Signature):
    """Answer in the conversation."""

    question: str = dspy.InputField()
    history: dspy.History = dspy.InputField()
    answer: str = dspy.OutputField()


class Bot(dspy.Module):
    def __init__(self):
        super().__init__()
        self.respond = dspy.Predict(Chat)

    def forward(self, question, history):
        return self.respond(question=question, history=history)


def build():
    return Bot()


TURNS = [{"question": "Hello?", "answer": "Hi."}, {"question": "And now?", "answer": "Still here."}]
INPUTS = [
    {"question": "How are you?", "history": dspy.History(messages=[])},
    {"question": "And then?", "history": dspy.History(messages=TURNS)},
]
MODE = "static"
