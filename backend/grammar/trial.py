"""Grammars that could take long to read, tried by another process first: nothing can interrupt llguidance.

Those are the ones that intersect terminals (`A & B`, `~A`): llguidance asks at once whether anything is in both, and
walks through their states, which multiply. JSON schemas do so with `multipleOf`, which has a state for each remainder.
It bounds all else itself.
"""

import functools
import json
import re
import subprocess
import sys

from lampc.backend.errors import BadGrammar

SECONDS = 2
"""Of processor time for reading a grammar of that kind, the start of the process included."""
WAITS = 5 * SECONDS
"""Of the wall, where the machine does other things, too."""
MEMORY = 4 << 30
"""Bytes of addresses that this may take."""
_WORDS = re.compile(r'("(?:\\.|[^"\\])*"|//.*|#.*|/(?:\\.|[^/\\])+/)|<[^<>\s]+>')
_MULTIPLE = re.compile(r"%json\b.*(?:multipleOf|\\u)", re.DOTALL)  # which escapes may spell, too
_OPTIONS = re.compile(r"%llguidance\s*(?=\{)")
_NO_MEMORY = re.compile(r"^memory allocation of \d+ bytes failed|^MemoryError", re.MULTILINE)
_READ = """
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
    resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
except Exception:
    pass
sys.path[:] = {path!r}
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
text = sys.stdin.buffer.read().decode()
limits = LLParserLimits(max_items_in_row={widest})
made = LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_lark(text), log_level=0, limits=limits)
if made.is_error():
    sys.stdout.buffer.write(made.get_error().encode())
"""


def may_take_long(grammar: str) -> bool:
    """Whether a grammar intersects terminals, or asks for multiples; `&` within texts and patterns does not."""
    bare = _WORDS.sub("", grammar) if "&" in grammar or "~" in grammar else ""
    return "&" in bare or "~" in bare or _MULTIPLE.search(grammar) is not None


def names_tokens(grammar: str) -> bool:
    """Whether a grammar names special tokens, outside texts and patterns."""
    return "<" in grammar and any(not found.group(1) for found in _WORDS.finditer(grammar))


def takes_any_bytes(grammar: str) -> bool:
    """Whether its patterns may hold bytes that are no text: those that llguidance has for special tokens are."""
    for found in _OPTIONS.finditer(grammar):
        try:
            options, _ = json.JSONDecoder().raw_decode(grammar, found.end())
        except ValueError:  # llguidance says what is wrong with it
            continue
        if options.get("allow_invalid_utf8"):
            return True
    return False


@functools.lru_cache(maxsize=16)
def try_out(grammar: str, widest: int) -> str | None:
    """What llguidance finds wrong with a grammar that defines all its terminals, None for nothing; special tokens are
    taken for known. Raises BadGrammar if it cannot be tried in time, which may be another time."""
    text = _WORDS.sub(lambda found: found.group(1) or '"x"'.ljust(len(found.group())), grammar)
    path = [folder for folder in sys.path if isinstance(folder, str)]
    code = _READ.format(seconds=SECONDS, memory=MEMORY, path=path, widest=widest)
    command = [sys.executable, "-P", "-c", code]  # without modules of the folder it happens to run in
    try:
        done = subprocess.run(command, input=text.encode(), timeout=WAITS, capture_output=True, check=False)
    except subprocess.TimeoutExpired:
        raise BadGrammar(TOO_LONG) from None
    except (OSError, TypeError, ValueError) as error:  # there may be no sys.executable
        raise BadGrammar(_untried(str(error))) from None
    said = done.stderr.decode(errors="replace")
    if done.returncode and _NO_MEMORY.search(said):
        return TOO_LARGE
    if done.returncode > 0:
        raise BadGrammar(_untried(said.strip().rpartition("\n")[2]))
    return TOO_LONG if done.returncode < 0 else done.stdout.decode(errors="replace") or None


_HOW = (
    "Counted repetitions multiply in terminals that are intersected (`&`, `~`), and so do multiples of large numbers "
    "(`multipleOf`); shorten these, or let one terminal say it all"
)
TOO_LONG = f"the grammar takes too long to read: over {SECONDS} s. {_HOW}"
TOO_LARGE = f"the grammar takes too much memory to read: over {MEMORY >> 30} GiB. {_HOW}"


def _untried(why: str) -> str:
    return (
        "the grammar could take long to read, and no process can be started to try it out: "
        f"{sys.executable!r} (sys.executable) says {why!r:.300}"
    )
