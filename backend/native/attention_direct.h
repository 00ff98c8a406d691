// Products with keys and values where they lie, for the few rows of a decoding step: to bring a chunk into order first
// costs several times what two rows do with it. Each sum has the order that it has with a packed chunk.
#pragma once

#include "attention_pack.h"

namespace attention {

// Keys and values of one chunk as the cache has them, in the format of products and whole vectors.
template <class F>
struct Direct {
    static constexpr int BLOCK = 8;  // rows side by side in registers
    typedef typename F::Plain Row;
    const Row *keys, *values;  // of slot 0
    const int64_t* slots;      // [count], then those of the next chunk
    int64_t dim, count, next;  // keys here, and in the next chunk
    const Row* none;           // zeros
    static constexpr const float *key_scales = nullptr, *value_scales = nullptr;

    const Row* row(const Row* base, int64_t i) const { return i < count ? base + slots[i] * dim : none; }

    // Has a row brought into the second cache meanwhile.
    void fetch(const Row* row) const {
        for (int64_t at = 0; at < dim; at += 64 / (int64_t)sizeof(Row)) __builtin_prefetch(row + at, 0, 2);
    }
};

#if defined(__AVX512F__)
constexpr bool DIRECT = true;

// 16 words of values of step `d`: of a row, or pairs of two.
INLINE f32x16 beside(const Direct<Single>& chunk, int64_t d, int64_t at) {
    return load(chunk.row(chunk.values, d) + at);
}

#if defined(__AVX512BF16__)
INLINE f32x16 beside(const Direct<Paired>& chunk, int64_t d, int64_t at) {
    u16x16 a, b;
    std::memcpy(&a, chunk.row(chunk.values, 2 * d) + at, sizeof a);
    std::memcpy(&b, chunk.row(chunk.values, 2 * d + 1) + at, sizeof b);
    return (f32x16)(__builtin_convertvector(a, u32x16) | __builtin_convertvector(b, u32x16) << 16);
}
#endif

// scores [R][CHUNK] = queries [R][depth] * keys. Fetches the values.
template <class F, int R>
static void score(const typename F::Word* queries, int64_t depth, const Direct<F>& chunk, float* scores) {
    alignas(64) uint32_t block[16 * 16];
    for (int64_t key = 0; key < chunk.count; key += 16) {
        const uint32_t* rows[16];
        for (int i = 0; i < 16; i++) {
            rows[i] = (const uint32_t*)chunk.row(chunk.keys, key + i);
            chunk.fetch(chunk.row(chunk.values, key + i));
        }
        f32x16 sums[R] = {};
        for (int64_t at = 0; at < depth; at += 16) {
            transpose(rows, at, block, 16);
            for (int d = 0; d < 16; d++) {
                f32x16 column;
                std::memcpy(&column, block + d * 16, sizeof column);
                for (int r = 0; r < R; r++) sums[r] = F::mac(sums[r], F::splat(queries + r * depth + at + d), column);
            }
        }
        for (int r = 0; r < R; r++) store(scores + r * CHUNK + key, sums[r]);
    }
}

// mix [R][dim] = fade[r] * mix + weights [R][CHUNK] * values. Fetches the keys of the next chunk.
template <class F, int R>
static void mix(const typename F::Word* weights, const Direct<F>& chunk, float* out, const float* fade) {
    constexpr int N = 2;
    for (int64_t at = 0; at < chunk.dim; at += N * 16) {
        f32x16 sums[R][N];
        for (int r = 0; r < R; r++)
            for (int n = 0; n < N; n++) sums[r][n] = load(out + r * chunk.dim + at + n * 16) * fade[r];
        for (int64_t d = 0; d < (chunk.count + F::PAIR - 1) / F::PAIR; d++) {
            for (int64_t i = d * F::PAIR; at == 0 && i < (d + 1) * F::PAIR && i < chunk.next; i++)
                chunk.fetch(chunk.keys + chunk.slots[CHUNK + i] * chunk.dim);
            f32x16 column[N];
            for (int n = 0; n < N; n++) column[n] = beside(chunk, d, at + n * 16);
            for (int r = 0; r < R; r++)
                for (int n = 0; n < N; n++)
                    sums[r][n] = F::mac(sums[r][n], F::splat(weights + r * (CHUNK / F::PAIR) + d), column[n]);
        }
        for (int r = 0; r < R; r++)
            for (int n = 0; n < N; n++) store(out + r * chunk.dim + at + n * 16, sums[r][n]);
    }
}
#else
constexpr bool DIRECT = false;  // without a fast transpose nothing is gained
#endif

}  // namespace attention
