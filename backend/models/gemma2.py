"""Gemma 2 (arXiv 2408.00118): norms on both sides of each part, soft caps, a window in every other layer."""

from dataclasses import replace

from lampc.backend.models.decoder import Decoder
from lampc.backend.models.decoder_config import AROUND, DecoderConfig
from lampc.backend.models.fields import Fields
from lampc.backend.models.layers import Activation
from lampc.backend.models.rope import Rope
from lampc.backend.models.windows import bounded, sliding

GELU: dict[str, Activation] = {"gelu_pytorch_tanh": "gelu_tanh"}
_HEAD_DIM, _DIVISOR, _WINDOW = 256, 256.0, 4096  # if config.json does not say


class Gemma2(Decoder):
    """Embeddings are multiplied by the root of their size; norms multiply by one more than their weights say."""

    @classmethod
    def read(cls, fields: Fields, context: int | None) -> DecoderConfig:
        """Raises CheckpointError, Unsupported or ValueError."""
        common = cls.read_gemma(fields, context, None)
        windows = cls.windows_by_kind(fields, common, period=2)
        caps = ("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0)
        score_cap, logit_cap = (
            None if name in fields.values and name not in fields else fields.number(name, usual) for name, usual in caps
        )
        return replace(common, windows=windows, score_cap=score_cap, logit_cap=logit_cap)

    @classmethod
    def read_gemma(cls, fields: Fields, context: int | None, rope: Rope | None) -> DecoderConfig:
        """What Gemma 3 has, too; windows and caps are left out."""
        fields.only("use_bidirectional_attention", False)
        common = DecoderConfig.read(
            fields, context, head_dim=_HEAD_DIM, activations=GELU, act_name="hidden_activation", rope=rope, tied=True
        )
        bias = fields.flag("attention_bias")
        return replace(
            common,
            norms=replace(AROUND, offset=1.0, wide=True),
            embed_scale=common.hidden**0.5,
            score_divisor=fields.number("query_pre_attn_scalar", _DIVISOR),
            qkv_bias=bias,
            o_bias=bias,
        )

    @staticmethod
    def windows_by_kind(fields: Fields, common: DecoderConfig, period: int) -> tuple[int | None, ...]:
        """That of all layers but every `period`-th, unless `layer_types` says otherwise."""
        window = bounded(fields.count("sliding_window", _WINDOW), common.rope.context)
        return tuple(window if local else None for local in sliding(fields, common.layers, period))
