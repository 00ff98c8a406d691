// Weights as whole numbers of eight bits, -127 .. 127, turned into what products take while they are read.
//
// A step of a panel, the 64 outputs' part that meets 4 bytes of a row, is 64 codes for rows of float and 128 for bf16.
// Both formats hold whole numbers of eight bits as they are; only sums are multiplied by scales. How codes stand in a
// step is what decoding is fastest from: `place` says it, and `written` how one is written.
#pragma once

#include "vec.h"

// Codes per output and step.
template <class T>
static constexpr int64_t CODES = 4 / sizeof(T);

INLINE i32x16 lanes(const int32_t* p) {
    i32x16 x;
    std::memcpy(&x, p, sizeof x);
    return x;
}

// Byte j of each lane.
INLINE f32x16 whole(i32x16 x, int j) { return __builtin_convertvector((x << (24 - 8 * j)) >> 24, f32x16); }

// float: lane l of 32 bits holds outputs l, 16 + l, 32 + l and 48 + l.
INLINE int64_t place(int64_t o, int64_t, float) { return o % 16 * 4 + o / 16; }

INLINE int8_t written(int8_t code, float) { return code; }

INLINE void decode(const int32_t* p, i32x16* b, float) {
    i32x16 x = lanes(p);
    for (int j = 0; j < 4; j++) b[j] = (i32x16)whole(x, j);
}

#if defined(__AVX512VBMI__)

// The two bytes of bf16, by tables. A code is its sign and 7 bits of size; 32 outputs are 64 bytes, in turns the pairs
// of 4 of the first 16 and of 4 of the others, as unpacking within 128 bits wants them.
INLINE int64_t place(int64_t o, int64_t i, bf16) {
    return o / 32 * 64 + o % 16 / 4 * 16 + o / 16 % 2 * 8 + o % 4 * 2 + i;
}

INLINE int8_t written(int8_t code, bf16) { return (int8_t)(code < 0 ? 128 - code : code); }

struct Bytes {
    alignas(64) uint8_t low[128], high[128];
};

static constexpr Bytes table() {
    Bytes t = {};
    for (int i = 1; i < 128; i++) {
        int exponent = 0;
        while (i >> (exponent + 1)) exponent++;
        int half = (127 + exponent) << 7 | ((i << (7 - exponent)) & 127);
        t.low[i] = half & 255, t.high[i] = half >> 8;
    }
    return t;
}

static constexpr Bytes BYTES = table();

INLINE void decode(const int32_t* p, i32x16* b, bf16) {
    for (int j = 0; j < 4; j += 2) {
        __m512i code = _mm512_loadu_si512(p + j * 8);
        __m512i low = _mm512_permutex2var_epi8(_mm512_load_si512(BYTES.low), code, _mm512_load_si512(BYTES.low + 64));
        __m512i top = _mm512_permutex2var_epi8(_mm512_load_si512(BYTES.high), code, _mm512_load_si512(BYTES.high + 64));
        top = _mm512_ternarylogic_epi32(top, code, _mm512_set1_epi8(-128), 0xf8);  // top | (code & -128)
        b[j] = (i32x16)_mm512_unpacklo_epi8(low, top);
        b[j + 1] = (i32x16)_mm512_unpackhi_epi8(low, top);
    }
}

#else

// bf16: lane l of each 64 bytes holds the first codes of outputs l and 16 + l, then their second ones.
INLINE int64_t place(int64_t o, int64_t i, bf16) { return o / 32 * 64 + o % 16 * 4 + 2 * i + o / 16 % 2; }

INLINE int8_t written(int8_t code, bf16) { return code; }

INLINE void decode(const int32_t* p, i32x16* b, bf16) {
    for (int j = 0; j < 4; j++) {
        i32x16 x = lanes(p + j / 2 * 16);
        i32x16 first = (i32x16)whole(x, j % 2), second = (i32x16)whole(x, 2 + j % 2);
        b[j] = (i32x16)((u32x16)first >> 16) | second;
    }
}

#endif
