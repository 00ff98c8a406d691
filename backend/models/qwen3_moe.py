"""Qwen3's models of experts (arXiv 2505.09388): Qwen3 in whose layers, or in some of them, experts feed forward."""

from dataclasses import replace

from lampc.backend.models.decoder_config import DecoderConfig
from lampc.backend.models.experts import Mixture
from lampc.backend.models.fields import Fields
from lampc.backend.models.qwen3 import Qwen3
from lampc.backend.models.windows import bounded


class Qwen3Moe(Qwen3):
    """Every `decoder_sparse_step`-th layer has experts but for those in `mlp_only_layers`; a window is for all."""

    @classmethod
    def read(cls, fields: Fields, context: int | None) -> DecoderConfig:
        """Raises CheckpointError, Unsupported or ValueError."""
        common = cls.read_qwen3(fields, context)
        window = None
        if fields.flag("use_sliding_window"):
            window = bounded(fields.count("sliding_window"), common.rope.context)
        # Newer files use the name that Mixtral's have.
        count = fields.count("num_experts" if "num_experts" in fields else "num_local_experts", 128)
        mixture = Mixture(
            count=count,
            chosen=fields.count("num_experts_per_tok", 8, most=count),
            intermediate=fields.count("moe_intermediate_size"),
            normalised=fields.flag("norm_topk_prob"),
        )
        step, plain = fields.count("decoder_sparse_step", 1), fields.values.get("mlp_only_layers") or []
        if not isinstance(plain, list) or not all(type(layer) is int for layer in plain):
            raise fields.wrong("mlp_only_layers", "a list of layers")
        mixtures = [None if i in plain or (i + 1) % step else mixture for i in range(common.layers)]
        return replace(common, windows=(window,) * common.layers, mixtures=tuple(mixtures))
