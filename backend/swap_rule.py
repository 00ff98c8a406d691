"""Whether K/V in host memory is worth its copies: what copying a token back takes against what computing it takes.

Both are taken to grow with the number of tokens, so that one comparison answers for any number. A copy is timed when
the engine is made; of computing, the fastest step that was nearly all prompts counts, since what else a machine does
only ever makes a step slower. Before there was one, copies are taken to be worth it. What attention adds in long
contexts is left out: it makes computing dearer still.
"""

_LEAST = 32  # rows of a step that says something about prefill


class PrefillRate:
    """`compute_s` are seconds per token of a prompt; None as long as nobody knows."""

    def __init__(self) -> None:
        self.compute_s: float | None = None

    def computed(self, prompt: int, rows: int, seconds: float) -> None:
        """A step of so many rows, `prompt` of them of prompts, took that long."""
        if rows >= _LEAST and 2 * prompt > rows and seconds > 0.0:
            each = seconds / rows
            self.compute_s = each if self.compute_s is None else min(self.compute_s, each)


class SwapRule(PrefillRate):
    """`copy_s` are seconds per token of a copy."""

    def __init__(self, copy_s: float) -> None:
        super().__init__()
        self.copy_s = copy_s

    @property
    def pays(self) -> bool:
        """Whether a copy back takes less time than computing."""
        return self.compute_s is None or self.copy_s < self.compute_s
