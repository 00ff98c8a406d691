"""Triton's interpreter, held to what a GPU does: a row of a product has the same bits wherever it stands in its tile.

The interpreter multiplies tiles with numpy, whose BLAS rounds a row of a matrix by its place on some processors (AMD's
Zen 5 is one). Here each row is a product of its own.
"""

from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle


def row_by_row(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """[..., M, K] times [..., K, N]: [..., M, N], each row computed as if it were alone."""
    product: NDArray[Any] = np.matmul(a[..., None, :], b[..., None, :, :])[..., 0, :]
    return product


def keep_rows_alone() -> None:
    """From now on the interpreter of this process multiplies row by row."""
    of_triton = InterpreterBuilder.create_dot

    @wraps(of_triton)
    def create_dot(builder: Any, a: Any, b: Any, d: Any, *options: Any) -> Any:
        if any(x.dtype.is_floating() and x.dtype.primitive_bitwidth == 8 for x in (a, b)):
            return of_triton(builder, a, b, d, *options)
        dtype = d.data.dtype
        product = row_by_row(a.data.astype(dtype, copy=False), b.data.astype(dtype, copy=False))
        return TensorHandle(product + d.data, d.dtype.scalar)

    InterpreterBuilder.create_dot = create_dot
