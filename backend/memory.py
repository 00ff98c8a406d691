"""How much memory is really free, and how large a KV cache is by default."""

import os
from pathlib import Path

SHARE = 0.4
"""Of what is free when an engine is loaded, the part that its KV cache may come to take."""

_UNKNOWN = 1 << 30  # what counts as free where nobody tells


def available_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process can still take: what the system has left, or its control groups if they allow less.

    Both versions of control groups are understood. What is cached of files counts as free, as far as it is idle.
    """
    return max(0, min(_system(proc), *_groups(proc, cgroups)))


def default_kv_tokens(free: int, per_token: int, context_length: int, max_running: int) -> int:
    """Tokens of a KV cache, where `free` bytes are free and a token takes `per_token`.

    A share of what is free; no more than `max_running` requests can fill, and no less than one needs.
    """
    wanted = int(free * SHARE) // max(1, per_token)
    return max(context_length, min(wanted, max_running * context_length))


def _system(proc: Path) -> int:
    for line in _lines(proc / "meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return _UNKNOWN


def _groups(proc: Path, cgroups: Path) -> list[int]:
    """What each control group above this process has left, at least one number."""
    found = [1 << 62]
    for line in _lines(proc / "self" / "cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            base, names = cgroups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base, names = cgroups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = base / path.strip("/")
        while folder.is_relative_to(base):
            found += _left(folder, *names)
            folder = folder.parent
    return found


def _left(folder: Path, limit: str, usage: str, idle: str) -> list[int]:
    bounds, used = _lines(folder / limit), _lines(folder / usage)
    if not (bounds and used and bounds[0].isdigit()):  # "max": no limit; or no such group seen from here
        return []
    cached = [int(line.split()[1]) for line in _lines(folder / "memory.stat") if line.startswith(f"{idle} ")]
    return [int(bounds[0]) - int(used[0]) + sum(cached)]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
