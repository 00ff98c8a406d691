"""Llama 1 to 3 (Touvron et al., arXiv 2302.13971)."""

from dataclasses import replace

from lampc.backend.models.decoder import Decoder
from lampc.backend.models.decoder_config import DecoderConfig
from lampc.backend.models.fields import Fields


class Llama(Decoder):
    """Of the family's options it has biases, which some relatives that go by its name use."""

    @classmethod
    def read(cls, fields: Fields, context: int | None) -> DecoderConfig:
        """Raises CheckpointError, Unsupported or ValueError."""
        fields.only("sliding_window")
        bias = fields.flag("attention_bias")
        common = DecoderConfig.read(fields, context)
        return replace(common, qkv_bias=bias, o_bias=bias, mlp_bias=fields.flag("mlp_bias"))
