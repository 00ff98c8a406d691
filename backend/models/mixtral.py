"""Mixtral (Jiang et al., arXiv 2401.04088): Llama whose feed-forward parts are experts, all layers alike."""

from dataclasses import replace

from lampc.backend.models.decoder import Decoder
from lampc.backend.models.decoder_config import DecoderConfig
from lampc.backend.models.experts import Mixture
from lampc.backend.models.fields import Fields
from lampc.backend.models.windows import bounded


class Mixtral(Decoder):
    """The weights of the chosen experts add up to 1. `sliding_window` is for all layers, if there is one."""

    @classmethod
    def read(cls, fields: Fields, context: int | None) -> DecoderConfig:
        """Raises CheckpointError, Unsupported or ValueError."""
        common = DecoderConfig.read(fields, context)
        window = bounded(fields.count("sliding_window"), common.rope.context) if "sliding_window" in fields else None
        count = fields.count("num_local_experts", 8)
        mixture = Mixture(
            count=count,
            chosen=fields.count("num_experts_per_tok", 2, most=count),
            intermediate=common.intermediate,
            normalised=True,
            place="block_sparse_moe",
            names=("w1", "w3", "w2"),
        )
        return replace(common, windows=(window,) * common.layers, mixtures=(mixture,) * common.layers)
