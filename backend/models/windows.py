"""Which layers see a sliding window, as `config.json` says it."""

from lampc.backend.models.fields import Fields

_FULL, _SLIDING = "full_attention", "sliding_attention"


def bounded(window: int, context: int) -> int | None:
    """The window, or None where it hides nothing."""
    return window if window < context else None


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
    if not isinstance(kinds, list) or len(kinds) != layers or not {_FULL, _SLIDING}.issuperset(kinds):
        raise fields.wrong("layer_types", f"{layers} times {_FULL!r} or {_SLIDING!r}")
    if _SLIDING in kinds and not fields.flag("use_sliding_window"):
        raise fields.wrong("use_sliding_window", f"true, since layer_types has {_SLIDING!r}")
    return tuple(window if kind == _SLIDING else None for kind in kinds)
