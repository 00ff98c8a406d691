"""Phi-3 and Phi-4 (arXiv 2404.14219, 2412.08905): Llama with fused projections; some rotate parts of heads."""

from dataclasses import replace

from lampc.backend.errors import CheckpointError
from lampc.backend.models.decoder import Decoder
from lampc.backend.models.decoder_config import DecoderConfig
from lampc.backend.models.fields import Fields
from lampc.backend.models.rope import Rope, rotary_size
from lampc.backend.models.windows import bounded


class Phi3(Decoder):
    """`sliding_window` is for all layers, if there is one."""

    @classmethod
    def read(cls, fields: Fields, context: int | None) -> DecoderConfig:
        """Raises CheckpointError, Unsupported or ValueError."""
        heads, hidden = fields.count("num_attention_heads"), fields.count("hidden_size")
        dim = fields.count("head_dim", max(1, hidden // heads))
        if dim % 2:
            raise CheckpointError(f"{fields.path}: head_dim {dim}; it must be even")
        rotary = rotary_size(fields, dim)
        common = DecoderConfig.read(fields, context, rope=Rope.read(fields, dim, context, rotary or dim))
        window = bounded(fields.count("sliding_window"), common.rope.context) if "sliding_window" in fields else None
        return replace(common, windows=(window,) * common.layers, fused=True, rotary=rotary)
