"""Best of several attempts by a reward function."""

import dspy


def one_word(args, pred):
    return 1.0 if len(pred.answer.split()) == 1 else 0.0


def build():
    qa = dspy.ChainOfThought("question -> answer")
    return dspy.BestOfN(module=qa, N=3, reward_fn=one_word, threshold=1.0)


INPUTS = [{"question": "What is the capital of Belgium?"}, {"question": "Name a river."}]
MODE = "static"
IN_TURN = [
    {"reasoning": "a", "answer": "two words"},
    {"reasoning": "b", "answer": "Brussels"},
    {"reasoning": "c", "answer": "The long Nile"},
    {"reasoning": "d", "answer": "A river"},
    {"reasoning": "e", "answer": "Some more words"},
]
