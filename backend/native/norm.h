// Root mean square norm of one row, for kernels that make it a part of theirs.
#pragma once

#include <cmath>

#include "vec.h"

template <class In, class Weight, class Out>
INLINE void rms_norm_row(const In* x, const Weight* weight, Out* out, int64_t width, float eps) {
    int64_t whole = width / 16 * 16, rest = width - whole;
    f32x16 squares = {};
    for (int64_t i = 0; i < whole; i += 16) squares = fma(load(x + i), load(x + i), squares);
    if (rest) {
        f32x16 last = load_part(x + whole, rest);
        squares = fma(last, last, squares);
    }
    float scale = 1.0f / std::sqrt(sum(squares) / width + eps);
    for (int64_t i = 0; i < whole; i += 16) store(out + i, load(x + i) * scale * load(weight + i));
    if (rest) store_part(out + whole, load_part(x + whole, rest) * scale * load_part(weight + whole, rest), rest);
}
