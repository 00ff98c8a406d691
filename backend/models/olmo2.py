"""OLMo 2 (arXiv 2501.00656): norms behind the parts of a layer, none before them; q and k are normalised whole."""

from dataclasses import replace

from lampc.backend.models.decoder import Decoder
from lampc.backend.models.decoder_config import DecoderConfig, Norms
from lampc.backend.models.fields import Fields

_NORMS = Norms(None, "post_attention_layernorm", None, "post_feedforward_layernorm", wide=True)


class Olmo2(Decoder):
    """The norms of queries and keys are over all heads together."""

    @classmethod
    def read(cls, fields: Fields, context: int | None) -> DecoderConfig:
        """Raises CheckpointError, Unsupported or ValueError."""
        bias = fields.flag("attention_bias")
        common = DecoderConfig.read(fields, context)
        return replace(common, norms=_NORMS, qk_norm=True, qk_joint=True, qkv_bias=bias, o_bias=bias)
