"""Grammars that could take long to read, tried by another process first: nothing can interrupt llguidance.

Those are the ones that intersect terminals (`A & B`): llguidance asks at once whether anything is in both, and walks
through their states, which multiply. It bounds all else itself.
"""

import contextlib
import re
import subprocess
import sys

from lampc.backend.errors import BadGrammar

SECONDS = 2
"""Of processor time for reading a grammar that intersects terminals, the start of the process included."""
WAITS = 5 * SECONDS
"""Of the wall, where the machine does other things, too."""
MEMORY = 4 << 30
"""Bytes of addresses that this may take."""
_WORDS = re.compile(r'("(?:\\.|[^"\\])*"|//.*|#.*|/(?:\\.|[^/\\\n])+/)|<[^<>\s]+>')
_READ = """
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
    resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
except (ImportError, ValueError):
    pass
from llguidance import LLMatcher, LLTokenizer
text = sys.stdin.buffer.read().decode()
LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_lark(text), log_level=0)
"""


def intersects(grammar: str) -> bool:
    """Whether a grammar intersects terminals; `&` within texts and patterns does not."""
    return "&" in grammar and "&" in _WORDS.sub("", grammar)


def try_out(grammar: str) -> None:
    """Raises BadGrammar if reading a grammar takes too long, or too much memory. What else may be wrong with it is not
    said here."""
    text = _WORDS.sub(lambda found: found.group(1) or '"x"', grammar)  # special tokens are those of a vocabulary
    code = _READ.format(seconds=SECONDS, memory=MEMORY)
    done = None
    with contextlib.suppress(subprocess.TimeoutExpired):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, input=text.encode(), timeout=WAITS, capture_output=True, check=False)
    if done is None or done.returncode < 0:
        raise BadGrammar(
            f"the grammar takes too long to read: over {SECONDS} s. It intersects terminals (`&`), whose counted "
            "repetitions multiply; shorten these, or let one terminal say it all"
        )
