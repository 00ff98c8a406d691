// Keys and values of one chunk and one K/V head, brought from their slots into the order in which products read them.
#pragma once

#include <type_traits>

#include "attention.h"

namespace attention {

// Number formats of products. A Word is what one step along the inner dimension takes from a row: a float, or PAIR = 2
// neighbouring bf16, which one instruction multiplies and adds up. Plain is the format of rows in memory.
struct Single {
    typedef float Word;
    typedef float Plain;
    static constexpr int PAIR = 1;
    INLINE f32x16 splat(const Word* p) { return all(*p); }
    INLINE f32x16 mac(f32x16 sum, f32x16 a, f32x16 b) { return fma(a, b, sum); }
};

#if defined(__AVX512BF16__)
struct Paired {
    typedef uint32_t Word;
    typedef bf16 Plain;
    static constexpr int PAIR = 2;
    INLINE f32x16 splat(const Word* p) { return (f32x16)_mm512_set1_epi32((int)*p); }
    INLINE f32x16 mac(f32x16 sum, f32x16 a, f32x16 b) {
        return (f32x16)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
    }
};
#endif

INLINE void convert(const float* from, float* to, int64_t n) { std::memcpy(to, from, n * sizeof(float)); }
INLINE void convert(const bf16* from, bf16* to, int64_t n) { std::memcpy(to, from, n * sizeof(bf16)); }
INLINE void convert(const bf16* from, float* to, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] = widen(from[i]);
}
INLINE void convert(const int8_t* from, float* to, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] = (float)from[i];
}
INLINE void convert(const int8_t* from, bf16* to, int64_t n) {  // exact: 7 bits and the sign
    for (int64_t i = 0; i < n; i++) to[i] = (bf16)(bits<uint32_t>((float)from[i]) >> 16);
}

// Rows [dim] of `count` keys in the format of products, in place where they are in it; past them zeros up to 16 keys.
template <class Plain, class Cell>
INLINE void gather(const Cell* base, const int64_t* slots, int64_t count, int64_t dim, Plain* room, const Plain* zeros,
                   const Plain** rows) {
    for (int64_t i = 0; i < count; i++) {
        const Cell* row = base + slots[i] * dim;
        if constexpr (std::is_same<Plain, Cell>::value) {
            rows[i] = row;
        } else {
            convert(row, room + i * dim, dim);
            rows[i] = room + i * dim;
        }
    }
    for (int64_t i = count; i % 16; i++) rows[i] = zeros;
}

#if defined(__AVX512F__)
// 16 words from each of 16 rows to 16 rows of words, `stride` apart.
INLINE void transpose(const uint32_t* const* rows, int64_t at, uint32_t* out, int64_t stride) {
    __m512i a[16], b[16];
    for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_si512(rows[i] + at);
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            a[i + 2 * j] = _mm512_unpacklo_epi64(b[i + j], b[i + j + 2]);
            a[i + 2 * j + 1] = _mm512_unpackhi_epi64(b[i + j], b[i + j + 2]);
        }
    for (int i = 0; i < 16; i += 8)  // a[4 q + c]: column c of each lane of four, rows 4 q .. 4 q + 3
        for (int j = 0; j < 4; j++) {
            b[i + j] = _mm512_shuffle_i32x4(a[i + j], a[i + j + 4], 0x88);
            b[i + j + 4] = _mm512_shuffle_i32x4(a[i + j], a[i + j + 4], 0xdd);
        }
    for (int j = 0; j < 8; j++) {  // b[j]: columns j and j + 8, rows 0 .. 7; b[j + 8]: rows 8 .. 15
        _mm512_storeu_si512(out + j * stride, _mm512_shuffle_i32x4(b[j], b[j + 8], 0x88));
        _mm512_storeu_si512(out + (j + 8) * stride, _mm512_shuffle_i32x4(b[j], b[j + 8], 0xdd));
    }
}
#endif

// out [depth][CHUNK] words: keys side by side.
INLINE void pack_keys(const uint32_t* const* rows, int64_t count, int64_t depth, uint32_t* out) {
    for (int64_t key = 0; key < count; key += 16) {
        int64_t at = 0;
#if defined(__AVX512F__)
        for (; at + 16 <= depth; at += 16) transpose(rows + key, at, out + at * CHUNK + key, CHUNK);
#endif
        for (; at < depth; at++)
            for (int i = 0; i < 16; i++) out[at * CHUNK + key + i] = rows[key + i][at];
    }
}

// out [count][width] floats: values one below the other, zeros past their end.
INLINE void pack_values(const float* const* rows, int64_t count, int64_t dim, int64_t width, float* out) {
    for (int64_t key = 0; key < count; key++, out += width) {
        std::memcpy(out, rows[key], dim * sizeof(float));
        std::memset(out + dim, 0, (width - dim) * sizeof(float));
    }
}

// out [(count + 1) / 2][width] pairs of values one below the other.
INLINE void pack_values(const bf16* const* rows, int64_t count, int64_t dim, int64_t width, uint32_t* out) {
    for (int64_t key = 0; key < count; key += 2, out += width) {
        const bf16 *even = rows[key], *odd = rows[key + 1];  // past the last one there are zeros
        int64_t at = 0;
        for (; at + 16 <= dim; at += 16) {
            u16x16 a, b;
            std::memcpy(&a, even + at, sizeof a), std::memcpy(&b, odd + at, sizeof b);
            u32x16 both = __builtin_convertvector(a, u32x16) | __builtin_convertvector(b, u32x16) << 16;
            std::memcpy(out + at, &both, sizeof both);
        }
        for (; at < width; at++) out[at] = at < dim ? even[at] | (uint32_t)odd[at] << 16 : 0;
    }
}

}  // namespace attention
