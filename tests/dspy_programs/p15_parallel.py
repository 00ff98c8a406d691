"""Independent calls run together."""

import dspy


class Angles(dspy.Module):
    def __init__(self):
        super().__init__()
        self.pro = dspy.Predict("topic -> argument_for")
        self.con = dspy.Predict("topic -> argument_against")
        self.judge = dspy.ChainOfThought("argument_for, argument_against -> verdict")

    def forward(self, topic):
        parallel = dspy.Parallel(num_threads=1, disable_progress_bar=True)
        pro, con = parallel([(self.pro, {"topic": topic}), (self.con, {"topic": topic})])
        return self.judge(argument_for=pro.argument_for, argument_against=con.argument_against)


def build():
    return Angles()


INPUTS = [{"topic": "tea"}]
MODE = "static"
