// A block of query rows against one chunk of keys: scores, their weights, and the mix of values.
//
// A row's arithmetic is one fixed sequence: each product has its own lane of sums, in the order of the inner dimension,
// however many rows there are; what is masked adds exact zeros. The running softmax (Milakov and Gimelshein, arXiv
// 1805.02867) takes the chunks of a segment in their order, and then segments in theirs.
#pragma once

#include "attention_direct.h"

namespace attention {

#if defined(__AVX512F__)
constexpr int WIDE = 4;  // vectors side by side in registers
#else
constexpr int WIDE = 1;
#endif
constexpr float LOWEST = -1e30f;  // below any score, and finite: differences stay numbers

// c [R][16 N] = fade[r] * c (or 0 if there is no fade) + a [R][depth] * b [depth][16 N]
template <class F, int R, int N>
INLINE void multiply(const typename F::Word* a, int64_t a_stride, int64_t depth, const typename F::Word* b,
                     int64_t b_stride, float* c, int64_t c_stride, const float* fade) {
    f32x16 sums[R][N];
    for (int r = 0; r < R; r++)
        for (int n = 0; n < N; n++)
            sums[r][n] = fade ? load(c + r * c_stride + n * 16) * fade[r] : f32x16{};
    for (int64_t d = 0; d < depth; d++) {
        f32x16 column[N];
        for (int n = 0; n < N; n++) std::memcpy(&column[n], b + d * b_stride + n * 16, sizeof column[n]);
        for (int r = 0; r < R; r++) {
            f32x16 x = F::splat(a + r * a_stride + d);
            for (int n = 0; n < N; n++) sums[r][n] = F::mac(sums[r][n], x, column[n]);
        }
    }
    for (int r = 0; r < R; r++)
        for (int n = 0; n < N; n++) store(c + r * c_stride + n * 16, sums[r][n]);
}

template <class F, int R>
static void product(const typename F::Word* a, int64_t a_stride, int64_t depth, const typename F::Word* b,
                    int64_t b_stride, int64_t vectors, float* c, int64_t c_stride, const float* fade) {
    int64_t n = 0;
    for (; n + WIDE <= vectors; n += WIDE)
        multiply<F, R, WIDE>(a, a_stride, depth, b + n * 16, b_stride, c + n * 16, c_stride, fade);
    for (; WIDE > 2 && n + 2 <= vectors; n += 2)
        multiply<F, R, 2>(a, a_stride, depth, b + n * 16, b_stride, c + n * 16, c_stride, fade);
    for (; n < vectors; n++)
        multiply<F, R, 1>(a, a_stride, depth, b + n * 16, b_stride, c + n * 16, c_stride, fade);
}

// One chunk of keys and values, ready for products.
template <class F>
struct Packed {
    static constexpr int BLOCK = 6;  // rows side by side in registers
    const typename F::Word *keys, *values;  // [depth][CHUNK], [CHUNK / PAIR][width]
    const float *key_scales, *value_scales;  // [CHUNK], or null
    int64_t count;                           // keys that there are
    int64_t width;                           // words of a row of values
};

// What makes scores, in powers of two, of products: a factor, and a soft limit if it is above 0.
struct Scale {
    float by, limit;
};

// Which keys of the chunk a row sees: from .. to.
struct Seen {
    int64_t from, to;
};

// What a tile's rows have so far: top score, mass [16] by lane, mix [width].
struct Running {
    float *top, *mass, *mix;
    int64_t width;
};

INLINE float peak(f32x16 x) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)x);
#else
    return largest(x);
#endif
}

// 2^x for x <= 0, zero below the range of normal numbers. Relative error below 2^-23.
INLINE f32x16 power(f32x16 x) {
    x = larger(all(-127.0f), x);  // in this order NaN stays
    f32x16 whole = x + WHOLE, f = x - (whole - WHOLE);
    f32x16 p = fma(all(0.00132647264f), f, all(0.0096715127f));
    p = fma(p, f, all(0.0555073375f));
    p = fma(p, f, all(0.240222421f));
    p = fma(p, f, all(0.693146978f));
    p = fma(p, f, all(1.0f));
    return p * (f32x16)(((i32x16)whole << 23) + (127 << 23));
}

INLINE f32x16 lanes_from(int64_t n) {
    f32x16 x;
    for (int i = 0; i < 16; i++) x[i] = (float)(n + i);
    return x;
}

// Weights in the format of products; returns what they add up to, by lane.
INLINE f32x16 keep(const f32x16* weights, const float* scales, float* out) {
    for (int i = 0; i < 4; i++) store(out + 16 * i, scales ? weights[i] * load(scales + 16 * i) : weights[i]);
    return (weights[0] + weights[1]) + (weights[2] + weights[3]);
}

#if defined(__AVX512BF16__)
INLINE f32x16 keep(const f32x16* weights, const float* scales, uint32_t* out) {
    f32x16 mass = {};
    for (int i = 0; i < 4; i += 2) {
        f32x16 low = weights[i], high = weights[i + 1];
        if (scales) {
            mass = mass + (low + high);
            low = low * load(scales + 16 * i), high = high * load(scales + 16 * i + 16);
        }
        u32x16 pairs = (u32x16)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
        // The mass of what the values are multiplied with: else rounding would scale the mix.
        if (!scales) mass = mass + ((f32x16)(pairs << 16) + (f32x16)(pairs & 0xffff0000u));
        std::memcpy(out + 8 * i, &pairs, sizeof pairs);
    }
    return mass;
}
#endif

// Adds what `rows` rows have of one more segment to what they have so far. Nothing, on either side, changes nothing.
static void add(const Running& tile, const Running& more, int64_t rows) {
    for (int64_t row = 0; row < rows; row++) {
        float &top = tile.top[row], other = more.top[row], best = other > top ? other : top;
        f32x16 fade = power(all(top - best)), other_fade = power(all(other - best));
        auto both = [&](float* to, const float* from) { store(to, load(to) * fade + load(from) * other_fade); };
        top = best;
        both(tile.mass + row * 16, more.mass + row * 16);
        for (int64_t at = row * tile.width; at < (row + 1) * tile.width; at += 16) both(tile.mix + at, more.mix + at);
    }
}

// See `Direct`.
template <class F, int R>
static void score(const typename F::Word* queries, int64_t depth, const Packed<F>& chunk, float* scores) {
    product<F, R>(queries, depth, depth, chunk.keys, CHUNK, (chunk.count + 15) / 16, scores, CHUNK, nullptr);
}

// See `Direct`.
template <class F, int R>
static void mix(const typename F::Word* weights, const Packed<F>& chunk, float* out, const float* fade) {
    product<F, R>(weights, CHUNK / F::PAIR, (chunk.count + F::PAIR - 1) / F::PAIR, chunk.values, chunk.width,
                  chunk.width / 16, out, chunk.width, fade);
}

// Rows first .. first + R - 1 of the tile; queries [rows][depth], seen [rows].
template <class F, int R, class Chunk>
static void attend(const typename F::Word* queries, int64_t depth, const Chunk& chunk, const Seen* seen, Scale scale,
                   const Running& tile, int64_t first) {
    typedef typename F::Word Word;
    alignas(64) float scores[R * CHUNK];
    alignas(64) Word weights[R * CHUNK / F::PAIR];
    alignas(64) float fade[16] = {};
    float* top = tile.top + first;
    score<F, R>(queries + first * depth, depth, chunk, scores);
    for (int r = 0; r < R; r++) {
        const Seen& range = seen[first + r];
        f32x16 x[4];
        for (int i = 0; i < 4; i++) {
            x[i] = load(scores + r * CHUNK + 16 * i) * scale.by;
            if (chunk.key_scales) x[i] = x[i] * load(chunk.key_scales + 16 * i);
            if (scale.limit > 0) x[i] = soft_cap(x[i], scale.limit);
        }
        if (range.from > 0 || range.to < CHUNK - 1)
            for (int i = 0; i < 4; i++) {
                f32x16 key = lanes_from(16 * i);
                i32x16 inside = (key >= (float)range.from) & (key <= (float)range.to);
                x[i] = pick(inside, x[i], all(-INFINITY));
            }
        for (int i = 0; i < 4; i++) store(scores + r * CHUNK + 16 * i, x[i]);
        float best = peak(larger(larger(x[0], x[1]), larger(x[2], x[3])));
        best = best > top[r] ? best : top[r];
        fade[r] = top[r] - best;
        top[r] = best;
    }
    store(fade, power(load(fade)));
    for (int r = 0; r < R; r++) {
        f32x16 x[4];
        for (int i = 0; i < 4; i++) x[i] = power(load(scores + r * CHUNK + 16 * i) - top[r]);
        float* mass = tile.mass + (first + r) * 16;
        store(mass, load(mass) * fade[r] + keep(x, chunk.value_scales, weights + r * CHUNK / F::PAIR));
    }
    mix<F, R>(weights, chunk, tile.mix + first * tile.width, fade);
}

// The same of at most R rows.
template <class F, int R, class Chunk>
static void attend(int64_t rows, const typename F::Word* queries, int64_t depth, const Chunk& chunk, const Seen* seen,
                   Scale scale, const Running& tile, int64_t first) {
    if constexpr (R > 1)
        if (rows < R) return attend<F, R - 1>(rows, queries, depth, chunk, seen, scale, tile, first);
    attend<F, R>(queries, depth, chunk, seen, scale, tile, first);
}

// Rows first .. last - 1 of the tile, in blocks of about the same size.
template <class F, class Chunk>
static void attend_all(const typename F::Word* queries, int64_t depth, const Chunk& chunk, const Seen* seen,
                       Scale scale, const Running& tile, int64_t first, int64_t last) {
    for (int64_t blocks = (last - first + Chunk::BLOCK - 1) / Chunk::BLOCK; blocks; blocks--) {
        int64_t rows = (last - first + blocks - 1) / blocks;
        attend<F, Chunk::BLOCK>(rows, queries, depth, chunk, seen, scale, tile, first);
        first += rows;
    }
}

}  // namespace attention
