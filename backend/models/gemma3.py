"""Gemma 3's text models (arXiv 2503.19786): Gemma 2 with normalised heads instead of caps, and two rotations."""

from dataclasses import replace

from lampc.backend.models.decoder_config import DecoderConfig
from lampc.backend.models.fields import Fields
from lampc.backend.models.gemma2 import _HEAD_DIM, Gemma2
from lampc.backend.models.rope import Rope
from lampc.backend.models.windows import sliding

_GLOBAL_THETA, _LOCAL_THETA = 1e6, 1e4


class Gemma3(Gemma2):
    """Five layers of six have a window and rotate faster; what stretches the rotation is for the others alone."""

    @classmethod
    def read(cls, fields: Fields, context: int | None) -> DecoderConfig:
        """Raises CheckpointError, Unsupported or ValueError."""
        for name in ("attn_logit_softcapping", "final_logit_softcapping"):
            fields.only(name)
        dim, (whole, local) = fields.count("head_dim", _HEAD_DIM), _ropes(fields)
        common = cls.read_gemma(fields, context, Rope.read(whole, dim, context))
        name = "sliding_window_pattern" if "sliding_window_pattern" in fields else "_sliding_window_pattern"
        period = fields.count(name, 6)
        return replace(
            common,
            windows=cls.windows_by_kind(fields, common, period),
            qk_norm=True,
            local_rope=Rope.read(local, dim, context),
            local=sliding(fields, common.layers, period),
        )


def _ropes(fields: Fields) -> tuple[Fields, Fields]:
    """The config as that of either rotation: newer files have a section for each, older ones entries of their own."""
    both = fields.section("rope_parameters")
    if "full_attention" in both or "sliding_attention" in both:
        whole, local = (both.section(f"{kind}_attention").values for kind in ("full", "sliding"))
    else:
        scaling = fields.section("rope_scaling").values or both.values
        whole = {"rope_theta": fields.number("rope_theta", _GLOBAL_THETA), **scaling}
        local = {"rope_theta": fields.number("rope_local_base_freq", _LOCAL_THETA)}
    made = [{**fields.values, "rope_scaling": None, "rope_parameters": dict(one)} for one in (whole, local)]
    return Fields(made[0], fields.path), Fields(made[1], fields.path)
