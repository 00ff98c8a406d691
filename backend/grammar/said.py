"""What llguidance says of an error, in words of ours."""

import re

_NOTHING = "no token may follow here, so that no text keeps to it; give one that some text keeps to"
_SPECIAL = re.compile(r"; following special tokens are available: .*")


def said(error: str) -> str:
    """An error of llguidance without its state and its stack, in words; special tokens have names of our own there."""
    error = re.split(r"\n<(?:state|backtrace)>", error, maxsplit=1)[0]
    return _SPECIAL.sub(
        "; write a special token as its id, `<[ID]>`", _NOTHING if error.strip() == "NoExtensionBias" else error
    )
