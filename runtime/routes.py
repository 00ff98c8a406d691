"""Where a model is, by its name: on this machine, at an endpoint, or behind litellm."""

from __future__ import annotations

import os
from pathlib import Path

OPENAI_URL = "https://api.openai.com/v1"
_SPEAKS_OPENAI = ("openai/", "hosted_vllm/", "text-completion-openai/", "litellm_proxy/", "custom_openai/")
LITELLM = "litellm:"


def route(model: str, base: str | None, engine: str = "auto") -> tuple[str, str]:
    """(URL, model's name there) of an endpoint, or ("", name) of a model on this machine.

    Models that litellm is to reach have `litellm:` as their URL.
    """
    bare = next((model[len(p) :] for p in _SPEAKS_OPENAI if model.startswith(p)), "")
    if base and engine != "litellm":
        return base, bare or model
    if model.startswith(("http://", "https://")):
        return model, ""
    if model == "firefly" or "/" not in model or Path(model).is_dir() or model.startswith((".", "/", "~")):
        if engine == "litellm":
            return LITELLM, model
        return "", model
    if model.startswith("openai/") and engine != "litellm":
        return os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE") or OPENAI_URL, bare
    return LITELLM + (base or ""), model
