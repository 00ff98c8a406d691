"""Qwen2 and Qwen2.5 (arXiv 2407.10671, 2412.15115): biases on q, k and v, windows in some layers."""

from dataclasses import replace

from lampc.backend.models.decoder import Decoder
from lampc.backend.models.decoder_config import DecoderConfig
from lampc.backend.models.fields import Fields
from lampc.backend.models.windows import by_layer


class Qwen2(Decoder):
    """The biases are a matter of course and not in config.json."""

    @classmethod
    def read(cls, fields: Fields, context: int | None) -> DecoderConfig:
        """Raises CheckpointError, Unsupported or ValueError."""
        common = DecoderConfig.read(fields, context)
        windows = by_layer(fields, common.layers, common.rope.context)
        return replace(common, qkv_bias=True, windows=windows)
