"""Building blocks of decoder models, as functions over rows."""

import math

import torch

from lampc.backend.models.config import LlamaConfig


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x [M, H] divided by its root mean square per row, computed in float32, times weight [H]."""
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * scale).to(x.dtype) * weight


def rope_tables(config: LlamaConfig, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin [context, head_dim], float32, each half of the width alike.

    Rotary embeddings after Su et al., arXiv 2104.09864. "linear" divides positions by the factor; "llama3"
    divides low frequencies by it, leaves high ones, and blends in between (Llama 3.1's published scheme).
    """
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
    frequencies = 1.0 / config.rope_theta**exponents
    scaling = config.rope_scaling
    if scaling is not None and scaling.kind == "linear":
        frequencies = frequencies / scaling.factor
    elif scaling is not None:
        wavelengths = 2 * math.pi / frequencies
        turns = scaling.original_context / wavelengths
        span = scaling.high_freq_factor - scaling.low_freq_factor
        blend = ((turns - scaling.low_freq_factor) / span).clamp(0.0, 1.0)
        frequencies = (1 - blend) * frequencies / scaling.factor + blend * frequencies
    angles = torch.outer(torch.arange(config.context_length).float(), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(device), angles.sin().to(device)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of x [M, heads, D] with cos and sin [M, 1, D]."""
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * cos + turned * sin
