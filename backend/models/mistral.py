"""Mistral (Jiang et al., arXiv 2310.06825): Llama with a sliding window in all layers."""

from dataclasses import replace

from lampc.backend.models.decoder import Decoder
from lampc.backend.models.decoder_config import DecoderConfig
from lampc.backend.models.fields import Fields
from lampc.backend.models.windows import bounded

_WINDOW = 4096  # of version 0.1; a config.json without a window says null, one without the entry means this


class Mistral(Decoder):
    """`sliding_window` is the number of keys that a query sees, itself included."""

    @classmethod
    def read(cls, fields: Fields, context: int | None) -> DecoderConfig:
        """Raises CheckpointError, Unsupported or ValueError."""
        common = DecoderConfig.read(fields, context)
        fields.only("layer_types", ["sliding_attention"] * common.layers)
        window = None
        if fields.values.get("sliding_window", _WINDOW) is not None:
            window = bounded(fields.count("sliding_window", _WINDOW), common.rope.context)
        return replace(common, windows=(window,) * common.layers)
