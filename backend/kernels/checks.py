"""What kernels ask of their tensors."""

import torch

_ALIGNMENT = 16  # bytes


def check_rows(**tensors: torch.Tensor) -> None:
    """Rows must lie close together and begin at multiples of 16 bytes.

    Triton compiles another kernel for other alignments, which may add up in another order: a row would then depend
    on where it lies. Raises ValueError.
    """
    for name, tensor in tensors.items():
        if not tensor.is_contiguous():
            raise ValueError(f"{name} {tuple(tensor.shape)} is not contiguous; call .contiguous()")
        if tensor.data_ptr() % _ALIGNMENT:
            raise ValueError(f"{name} begins between multiples of {_ALIGNMENT} bytes; call .clone()")


def aligned(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy of it, as `check_rows` wants it: parts of a file begin anywhere."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() % _ALIGNMENT else tensor


def check_shape(name: str, tensor: torch.Tensor, *shape: int) -> None:
    """Raises ValueError if the tensor has another shape."""
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} is {tuple(tensor.shape)}; {shape} is wanted")


def check_same(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> None:
    """Raises ValueError if the tensor has another dtype."""
    if tensor.dtype != dtype:
        raise ValueError(f"{name} is {tensor.dtype}; {dtype} is wanted")


def warps(values: int) -> int:
    """Warps for a program that holds this many values: eight per thread, from one warp to 16."""
    return max(1, min(16, values // 256))
