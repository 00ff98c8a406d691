"""What is tried in every interpreter: how much of Python it knows, and what it lets through."""

from pathlib import Path

_SECTIONS = Path(__file__).with_name("language.txt").read_text(encoding="utf-8").split("## ")[1:]
LANGUAGE = {name: code for name, _, code in (s.partition("\n") for s in _SECTIONS)}
_MODULES = (
    "abc array ast base64 bisect calendar cmath collections contextlib copy csv dataclasses datetime decimal "
    "difflib enum fractions functools hashlib heapq html io itertools json math numbers operator os.path "
    "pathlib pprint queue random re statistics string struct sys textwrap time types typing unicodedata "
    "urllib.parse uuid zlib zoneinfo numpy pandas"
)
MODULES = _MODULES.split()
OUTSIDE = {
    "files": "open('/etc/hostname').read() and open('/etc/passwd').read().index('root:')",
    "environment": "import os\nos.environ['LAMPC_SANDBOX_SECRET']",
    "network": "import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)",
    "processes": "import os\nassert os.system('true') == 0",
}
SPEED = {
    "calls": "def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\nfib(22)",
    "loop": "n = 0\nfor i in range(500000):\n    n += i % 7\nn",
    "texts": "s = ' '.join(str(i) for i in range(50000))\nlen({w: s.count(w) for w in s.split()[:100]})",
}
