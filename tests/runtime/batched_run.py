"""A program that runs in an endpoint's batches: in this process, or in one that is killed at a given moment.

python -m tests.runtime.batched_run URL STORE N     ends by force before its Nth write to the store (0: never)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from lampc.runtime.batched import BatchModel
from lampc.runtime.providers import OpenAIClient
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Row
from tests.runtime.programs import CHAIN

FAST = (0.0, 0.01)
"""Seconds between two looks at a batch."""


def answer(messages: list[dict[str, Any]]) -> str:
    """The last word, backwards."""
    return f"label: {messages[-1]['content'].split()[-1][::-1]}"


def outputs(url: str, store: Store | None = None, batched: bool = True) -> list[Any]:
    """Of five rows with two calls each."""
    model = BatchModel(OpenAIClient(url, "m"), "main", store, poll=FAST) if batched else url
    with Session(model=model, store=store) as session:
        outcomes = session.run(CHAIN, [Row(str(i), {"text": f"word{i}"}) for i in range(5)])
    return [o.value if o.error is None else str(o.error) for o in outcomes]


def main(url: str, path: str, moment: int) -> None:
    real, writes = os.write, 0

    def write(fd: int, data: Any) -> int:
        nonlocal writes
        writes += 1
        if writes == moment:
            os._exit(9)
        return real(fd, data)

    with Store(Path(path)) as store:
        os.write = write
        try:
            found = outputs(url, store)
        finally:
            os.write = real
    print(*found, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
