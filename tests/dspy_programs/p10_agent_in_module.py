"""An agent inside of a module, its trajectory used afterwards."""

import dspy

STOCK = {"apples": 3, "pears": 0}


def in_stock(item: str) -> int:
    """How many there are."""
    return STOCK[item]


class Shop(dspy.Module):
    def __init__(self):
        super().__init__()
        self.agent = dspy.ReAct(dspy.Signature("order -> offer", "Make an offer."), tools=[in_stock], max_iters=3)
        self.polite = dspy.Predict("offer, language -> letter")

    def forward(self, order, language="English"):
        found = self.agent(order=order)
        letter = self.polite(offer=found.offer, language=language).letter
        return dspy.Prediction(letter=letter, trajectory=found.trajectory)


def build():
    return Shop()


def answer(messages, default):
    if "next_tool_name" not in messages[0]["content"]:
        return default(messages)
    n = messages[-1]["content"].count("[[ ## observation_")
    return {"next_thought": f"look {n}", "next_tool_name": "in_stock", "next_tool_args": {"item": "apples"}}


INPUTS = [{"order": "two apples"}, {"order": "pears"}]
MODE = "static"
