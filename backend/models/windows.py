"""Which layers see a sliding window, as `config.json` says it."""

from lampc.backend.models.fields import Fields

_FULL, _SLIDING = "full_attention", "sliding_attention"


def bounded(window: int, context: int) -> int | None:
    """The window, or None where it hides nothing."""
    return window if window < context else None


def sliding(fields: Fields, layers: int, period: int) -> tuple[bool, ...]:
    """Which layers have the window, by `layer_types`, or all but every `period`-th. Raises CheckpointError."""
    kinds = fields.values.get("layer_types")
    if kinds is None:
        return tuple((i + 1) % period != 0 for i in range(layers))
    if not isinstance(kinds, list) or len(kinds) != layers or not {_FULL, _SLIDING}.issuperset(kinds):
        raise fields.wrong("layer_types", f"{layers} times {_FULL!r} or {_SLIDING!r}")
    return tuple(kind == _SLIDING for kind in kinds)


def by_layer(fields: Fields, layers: int, context: int) -> tuple[int | None, ...]:
    """Qwen's entries: `use_sliding_window`, `sliding_window`, and `layer_types` or else `max_window_layers`.

    The layers from `max_window_layers` on have the window. Raises CheckpointError.
    """
    kinds = fields.values.get("layer_types")
    window = None
    if fields.flag("use_sliding_window"):
        window = bounded(fields.count("sliding_window"), context)
    if kinds is None:
        if not fields.flag("use_sliding_window"):
            return (None,) * layers
        first = fields.values.get("max_window_layers")
        if not isinstance(first, int) or isinstance(first, bool) or first < 0:
            raise fields.wrong("max_window_layers", "the number of layers without a window")
        return tuple(window if i >= first else None for i in range(layers))
    local = sliding(fields, layers, 1)
    if any(local) and not fields.flag("use_sliding_window"):
        raise fields.wrong("use_sliding_window", f"true, since layer_types has {_SLIDING!r}")
    return tuple(window if one else None for one in local)
