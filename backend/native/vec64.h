// Vectors of 8 doubles, for sums over a vocabulary.
#pragma once

#include "vec.h"

typedef double f64x8 __attribute__((vector_size(64)));
typedef int64_t i64x8 __attribute__((vector_size(64)));

INLINE f64x8 all64(double x) { return x - f64x8{}; }

INLINE f64x8 fma(f64x8 a, f64x8 b, f64x8 c) {
#if defined(__AVX512F__)
    return (f64x8)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__FMA__)
    __m256d x[2], y[2], z[2];
    std::memcpy(x, &a, sizeof a), std::memcpy(y, &b, sizeof b), std::memcpy(z, &c, sizeof c);
    for (int i = 0; i < 2; i++) z[i] = _mm256_fmadd_pd(x[i], y[i], z[i]);
    std::memcpy(&c, z, sizeof c);
    return c;
#else
    return a * b + c;
#endif
}

// x where the mask says so, else 0.
INLINE f64x8 keep(i64x8 mask, f64x8 x) { return (f64x8)((i64x8)x & mask); }

// Half of 16 floats.
INLINE f64x8 wide(f32x16 x, int half) {
    typedef float f32x8 __attribute__((vector_size(32)));
    f32x8 parts[2];
    std::memcpy(parts, &x, sizeof x);
    return __builtin_convertvector(parts[half], f64x8);
}

INLINE double add(f64x8 x) { return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7])); }

// e^x for x <= 0, also -inf: Taylor's series to the 13th power, within an ulp or two; 0 below the range of normal
// numbers.
INLINE f64x8 exp(f64x8 x) {
    const double whole_bits = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to whole numbers
    i64x8 large = x > all64(-708.0);
    x = keep(large, x);
    f64x8 whole = x * 1.4426950408889634 + whole_bits;
    i64x8 n = (i64x8)whole - bits<int64_t>(whole_bits);
    f64x8 back = whole - whole_bits;
    f64x8 r = fma(back, all64(-6.93147180369123816490e-01), x);
    r = fma(back, all64(-1.90821492927058770002e-10), r);
    f64x8 p = all64(1.0 / 6227020800);
    for (double factor : {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
                          1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0})
        p = fma(p, r, all64(factor));
    return keep(large, (f64x8)((i64x8)p + (n << 52)));
}
