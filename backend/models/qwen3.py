"""Qwen3's dense models (arXiv 2505.09388): Qwen2 with q and k normalised per head instead of biased."""

from dataclasses import replace

from lampc.backend.models.decoder import Decoder
from lampc.backend.models.decoder_config import DecoderConfig
from lampc.backend.models.fields import Fields
from lampc.backend.models.windows import by_layer

_HEAD_DIM = 128  # whatever the hidden size, if config.json does not say


class Qwen3(Decoder):
    """The norms' weights are shared by all heads."""

    @classmethod
    def read(cls, fields: Fields, context: int | None) -> DecoderConfig:
        """Raises CheckpointError, Unsupported or ValueError."""
        common = cls.read_qwen3(fields, context)
        return replace(common, windows=by_layer(fields, common.layers, common.rope.context))

    @classmethod
    def read_qwen3(cls, fields: Fields, context: int | None) -> DecoderConfig:
        """What its models with experts have, too; windows are left out."""
        common = DecoderConfig.read(fields, context, head_dim=_HEAD_DIM)
        bias = fields.flag("attention_bias")
        return replace(common, qk_norm=True, qkv_bias=bias, o_bias=bias)
