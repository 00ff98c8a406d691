"""What code in a sandbox may use."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Bounds of one sandbox: `seconds` of computing per execution (waiting for tools is not counted), `memory` in
    bytes, `output` in bytes printed or returned per execution, `calls` of tools in all, `depth` of recursion.

    Raises ValueError for a bound that is not positive.
    """

    seconds: float = 30.0
    memory: int = 256 << 20
    output: int = 1 << 20
    calls: int = 10_000
    depth: int = 1000

    def __post_init__(self) -> None:
        for f in fields(self):
            if not getattr(self, f.name) > 0:
                raise ValueError(f"a sandbox's limit `{f.name}` must be positive, not {getattr(self, f.name)!r}")
