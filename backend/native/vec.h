// Vectors of 16 floats that compile for any instruction set, and the numerics that all kernels share.
// Contraction of a * b + c is off for the whole library: what rounds once says `fma`, and each expression has the
// same bits wherever it is inlined.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__FMA__)
#include <immintrin.h>
#endif

#define API extern "C" __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

typedef uint16_t bf16;  // the upper half of a float
typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef uint16_t u16x16 __attribute__((vector_size(32)));

template <class To, class From>
INLINE To bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "same size");
    To y;
    std::memcpy(&y, &x, sizeof y);
    return y;
}

INLINE f32x16 all(float x) { return x - f32x16{}; }

INLINE f32x16 fma(f32x16 a, f32x16 b, f32x16 c) {
#if defined(__AVX512F__)
    return (f32x16)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    __m256 x[2], y[2], z[2];
    std::memcpy(x, &a, sizeof a), std::memcpy(y, &b, sizeof b), std::memcpy(z, &c, sizeof c);
    for (int i = 0; i < 2; i++) z[i] = _mm256_fmadd_ps(x[i], y[i], z[i]);
    std::memcpy(&c, z, sizeof c);
    return c;
#else
    return a * b + c;
#endif
}

INLINE f32x16 pick(i32x16 mask, f32x16 yes, f32x16 no) {
    return (f32x16)(((i32x16)yes & mask) | ((i32x16)no & ~mask));
}

INLINE f32x16 larger(f32x16 a, f32x16 b) { return pick(a > b, a, b); }

// ---- memory: float and bf16 look alike to kernels

INLINE f32x16 load(const float* p) {
    f32x16 x;
    std::memcpy(&x, p, sizeof x);
    return x;
}

INLINE f32x16 load(const bf16* p) {
    u16x16 x;
    std::memcpy(&x, p, sizeof x);
    return (f32x16)(__builtin_convertvector(x, u32x16) << 16);
}

INLINE void store(float* p, f32x16 x) { std::memcpy(p, &x, sizeof x); }

// To the nearest, ties to even; NaN stays NaN.
INLINE void store(bf16* p, f32x16 x) {
    u32x16 b = (u32x16)x;
    u32x16 rounded = (b + 0x7fff + ((b >> 16) & 1)) >> 16;
    u32x16 nan = (b >> 16) | 64;
    u32x16 is_nan = (u32x16)(x != x);
    u16x16 y = __builtin_convertvector((rounded & ~is_nan) | (nan & is_nan), u16x16);
    std::memcpy(p, &y, sizeof y);
}

// The first n of 16 values; the others are read as zero and not written.
template <class T>
INLINE f32x16 load_part(const T* p, int64_t n) {
    T some[16] = {};
    std::memcpy(some, p, n * sizeof(T));
    return load(some);
}

template <class T>
INLINE void store_part(T* p, f32x16 x, int64_t n) {
    T some[16];
    store(some, x);
    std::memcpy(p, some, n * sizeof(T));
}

template <class T>
INLINE f32x16 get(const T* p, int64_t n) {
    return n == 16 ? load(p) : load_part(p, n);
}

template <class T>
INLINE void put(T* p, f32x16 x, int64_t n) {
    if (n == 16)
        store(p, x);
    else
        store_part(p, x, n);
}

// ---- numerics

INLINE float sum(f32x16 x) {
    float s[16];
    store(s, x);
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) s[i] += s[i + half];
    return s[0];
}

INLINE float largest(f32x16 x) {
    float s[16];
    store(s, x);
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) s[i] = s[i] > s[i + half] ? s[i] : s[i + half];
    return s[0];
}

// e^r for |r| <= ln 2 / 2, times 2^n; 0 where `tiny`.
INLINE f32x16 scaled_exp(f32x16 r, i32x16 n, i32x16 tiny) {
    f32x16 p = all(1.0f / 5040);
    p = fma(p, r, all(1.0f / 720));
    p = fma(p, r, all(1.0f / 120));
    p = fma(p, r, all(1.0f / 24));
    p = fma(p, r, all(1.0f / 6));
    p = fma(p, r, all(0.5f));
    p = fma(p, r, all(1.0f));
    p = fma(p, r, all(1.0f));
    return (f32x16)(((i32x16)p + (n << 23)) & ~tiny);
}

// Adding it rounds to whole numbers, which then stand in the low bits.
static const float WHOLE = 12582912.0f;  // 1.5 * 2^23

// e^x for x <= 88; 0 below the range of normal numbers, also for -inf.
INLINE f32x16 exp(f32x16 x) {
    i32x16 tiny = x < all(-87.0f);
    x = pick(tiny, all(-87.0f), x);
    f32x16 whole = x * 1.44269504088896f + WHOLE;
    i32x16 n = (i32x16)whole - bits<int32_t>(WHOLE);
    f32x16 back = whole - WHOLE;
    f32x16 r = fma(back, all(-0.693359375f), x);
    return scaled_exp(fma(back, all(2.12194440e-4f), r), n, tiny);
}

// limit * tanh(x / limit).
INLINE f32x16 soft_cap(f32x16 x, float limit) {
    f32x16 small = exp(larger(x, -x) * (-2.0f / limit));  // e^(-2 |x / limit|)
    f32x16 y = (1.0f - small) / (1.0f + small) * limit;
    return pick(x != x, x, pick(x < all(0.0f), -y, y));
}
