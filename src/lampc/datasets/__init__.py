"""`lampc.datasets`: loading examples, under the names of `dspy.datasets`."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.runtime.loading import DataLoader

_PUBLIC = {"HotPotQA": "hotpotqa/hotpot_qa", "GSM8K": "openai/gsm8k", "MATH": "DigitalLearningGmbH/MATH-lighteval"}

if not TYPE_CHECKING:
    _module = modules_of(__name__)

    def __getattr__(name):
        if name in _PUBLIC:
            raise AttributeError(
                f"lampc.datasets has no `{name}`, which downloads a public data set: "
                f"DataLoader().from_huggingface({_PUBLIC[name]!r}, ...) does (pip install 'lampc[data]'), "
                "and from_json or from_csv read a file of it"
            )
        return _module(name)


__all__ = ["DataLoader"]
