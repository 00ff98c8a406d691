// Products of rows with packed weights: out[m][n] = sum over k of x[m][k] * weight[n][k].
//
// A weight [N, K] is packed as panels of 64 outputs. Within a panel stand, step by step, the 64 outputs' next 4 bytes:
// one float, or two bf16. Each result is one accumulator that goes over all steps in order, however many rows there
// are and whoever computes it; so its bits depend on its row alone. A panel stays in the second cache while it meets
// the rows, six at a time: 24 accumulators, 4 loads and 6 broadcasts for 24 multiplications.
//
// Weights of eight bits (`codes.h`) stand in the same order. They are decoded in registers where they
// meet the first six rows, and kept for the others as part of a plain panel. So all rows meet the same numbers in the
// same order; the finished sum is multiplied by its output's scale.
#pragma once

#include "codes.h"
#include "vec.h"

extern "C" int omp_get_thread_num();
extern "C" int omp_get_num_threads();

static const int PANEL = 64, TILE = 6;
static const int64_t STEPS = 512, ROWS = 252;

// `n` outputs; `steps` of 4 bytes per row and output; `bias` [n] or null. Panels hold codes if there are `scales`, one
// for each output of each panel, else null.
struct Matrix {
    const int32_t* panels;
    const float* bias;
    int64_t n, steps;
    const float* scales;

    int64_t count() const { return (n + PANEL - 1) / PANEL; }
};

INLINE f32x16 step(f32x16 sum, int32_t a, i32x16 b, float) { return fma(all(bits<float>(a)), (f32x16)b, sum); }

INLINE f32x16 step(f32x16 sum, int32_t a, i32x16 b, bf16) {
    i32x16 pair = a - i32x16{};
#if defined(__AVX512BF16__)
    return (f32x16)_mm512_dpbf16_ps((__m512)sum, (__m512bh)pair, (__m512bh)b);
#else
    sum = fma((f32x16)(pair << 16), (f32x16)(b << 16), sum);
    return fma((f32x16)(pair & ~0xffff), (f32x16)(b & ~0xffff), sum);
#endif
}

// A panel in memory, in steps of WIDTH times 4 bytes, and how one is read: 4 x 16 outputs.
struct Plain {
    static const int WIDTH = PANEL;
    const int32_t* panel;
    template <class T>
    __attribute__((always_inline)) void take(int64_t k, i32x16* b, T) const {
        for (int j = 0; j < 4; j++) std::memcpy(&b[j], panel + k * WIDTH + j * 16, 64);
    }
};

// The same of codes.
template <class T>
struct Coded {
    static const int WIDTH = PANEL / 4 * CODES<T>;
    const int32_t* panel;
    __attribute__((always_inline)) void take(int64_t k, i32x16* b, T kind) const { decode(panel + k * WIDTH, b, kind); }
};

// What is decoded is also kept, as a plain panel.
template <class T>
struct Kept : Coded<T> {
    int32_t* strip;
    __attribute__((always_inline)) void take(int64_t k, i32x16* b, T kind) const {
        Coded<T>::take(k, b, kind);
        for (int j = 0; j < 4; j++) std::memcpy(strip + k * PANEL + j * 16, &b[j], 64);
    }
};

// Some steps of R rows with a panel, on top of `sums` [R][PANEL]. Rows are `stride` apart in units of 4 bytes.
// Each step fetches AHEAD lines of 64 bytes of what comes after this panel into the second cache.
template <class T, int R, int AHEAD, class Panel>
static void accumulate(const int32_t* x, int64_t stride, Panel panel, int64_t steps, const int32_t* ahead,
                       float* sums) {
    f32x16 acc[R][4];
    for (int i = 0; i < R; i++)
        for (int j = 0; j < 4; j++) acc[i][j] = load(sums + i * PANEL + j * 16);
    for (int64_t k = 0; k < steps; k++) {
        for (int i = 0; i < AHEAD; i++) __builtin_prefetch(ahead + (k * AHEAD + i) * 16, 0, 2);
        i32x16 b[4];
        panel.take(k, b, T());
        for (int i = 0; i < R; i++) {
            int32_t a = x[i * stride + k];
            for (int j = 0; j < 4; j++) acc[i][j] = step(acc[i][j], a, b[j], T());
        }
    }
    for (int i = 0; i < R; i++)
        for (int j = 0; j < 4; j++) store(sums + i * PANEL + j * 16, acc[i][j]);
}

template <class T, int AHEAD, class Panel>
INLINE void accumulate(int64_t rows, const int32_t* x, int64_t stride, Panel panel, int64_t steps,
                       const int32_t* ahead, float* sums) {
    switch (rows) {
        case 1: return accumulate<T, 1, AHEAD>(x, stride, panel, steps, ahead, sums);
        case 2: return accumulate<T, 2, AHEAD>(x, stride, panel, steps, ahead, sums);
        case 3: return accumulate<T, 3, AHEAD>(x, stride, panel, steps, ahead, sums);
        case 4: return accumulate<T, 4, AHEAD>(x, stride, panel, steps, ahead, sums);
        case 5: return accumulate<T, 5, AHEAD>(x, stride, panel, steps, ahead, sums);
        case 6: return accumulate<T, 6, AHEAD>(x, stride, panel, steps, ahead, sums);
    }
}

// Rows [begin, end), at most ROWS of them, with panel p: sums [end - begin][PANEL].
template <class T>
static void product(const Matrix& w, const int32_t* x, int64_t stride, int64_t rows, int64_t p, float* sums) {
    int64_t tiles = (rows + TILE - 1) / TILE;
    std::memset(sums, 0, rows * PANEL * sizeof(float));
    for (int64_t k = 0; k < w.steps; k += STEPS) {
        int64_t steps = w.steps - k < STEPS ? w.steps - k : STEPS;
        Plain panel = {w.panels + (p * w.steps + k) * PANEL};
        const int32_t* ahead = panel.panel + steps * PANEL;
        for (int64_t t = 0; t < tiles; t++) {
            int64_t begin = rows * t / tiles, count = rows * (t + 1) / tiles - begin;
            const int32_t* some = x + begin * stride + k;
            float* out = sums + begin * PANEL;
            if (tiles >= 4 && t < 4)
                accumulate<T, 1>(count, some, stride, panel, steps, ahead + t * steps * 16, out);
            else if (tiles < 4 && tiles > 1 && t < 2)
                accumulate<T, 2>(count, some, stride, panel, steps, ahead + t * steps * 32, out);
            else
                accumulate<T, 0>(count, some, stride, panel, steps, ahead, out);
        }
    }
}

// The same with a panel of codes.
template <class T>
static void coded_product(const Matrix& w, const int32_t* x, int64_t stride, int64_t rows, int64_t p, float* sums) {
    constexpr int WIDTH = Coded<T>::WIDTH, LINES = WIDTH / 16;
    const int32_t* panel = w.panels + p * w.steps * WIDTH;
    int64_t tiles = (rows + TILE - 1) / TILE;
    alignas(64) int32_t strip[STEPS * PANEL];
    std::memset(sums, 0, rows * PANEL * sizeof(float));
    if (tiles == 1) accumulate<T, 0>(rows, x, stride, Coded<T>{panel}, w.steps, panel, sums);
    for (int64_t k = 0; tiles > 1 && k < w.steps; k += STEPS) {
        int64_t steps = w.steps - k < STEPS ? w.steps - k : STEPS;
        const int32_t *from = panel + k * WIDTH, *ahead = from + steps * WIDTH;
        for (int64_t t = 0; t < tiles; t++) {
            int64_t begin = rows * t / tiles, count = rows * (t + 1) / tiles - begin;
            const int32_t* some = x + begin * stride + k;
            float* out = sums + begin * PANEL;
            if (t == 0)
                accumulate<T, 0>(count, some, stride, Kept<T>{{from}, strip}, steps, ahead, out);
            else if (t == 1)
                accumulate<T, LINES>(count, some, stride, Plain{strip}, steps, ahead, out);
            else
                accumulate<T, 0>(count, some, stride, Plain{strip}, steps, ahead, out);
        }
    }
    for (int64_t m = 0; m < rows; m++)
        for (int j = 0; j < PANEL; j += 16)
            store(sums + m * PANEL + j, load(sums + m * PANEL + j) * load(w.scales + p * PANEL + j));
}

// The share of one thread in a product: panels first, rows too where there are few panels for many threads.
// `done(row, panel, sums)` gets the finished 64 sums of each row.
template <class T, class Done>
INLINE void multiply(const Matrix& w, const void* x, int64_t stride, int64_t rows, int thread, int threads,
                     Done done) {
    int64_t panels = w.count(), parts = (rows + ROWS - 1) / ROWS;
    while (parts * 2 * TILE <= rows && panels * parts % threads != 0 && panels * parts < 16 * threads) parts *= 2;
    int64_t tasks = panels * parts;
    alignas(64) float sums[ROWS * PANEL];
    for (int64_t task = tasks * thread / threads; task < tasks * (thread + 1) / threads; task++) {
        int64_t p = task % panels, part = task / panels;
        int64_t begin = rows * part / parts, end = rows * (part + 1) / parts;
        auto one = w.scales ? coded_product<T> : product<T>;
        one(w, (const int32_t*)x + begin * stride, stride, end - begin, p, sums);
        for (int64_t m = begin; m < end; m++) done(m, p, sums + (m - begin) * PANEL);
    }
}

// Panel p with all rows, by one thread: `done(row, sums)` gets the finished 64 sums of each.
template <class T, class Done>
INLINE void panel(const Matrix& w, const void* x, int64_t rows, int64_t p, Done done) {
    alignas(64) float sums[ROWS * PANEL];
    auto one = w.scales ? coded_product<T> : product<T>;
    for (int64_t begin = 0; begin < rows; begin += ROWS) {
        int64_t count = rows - begin < ROWS ? rows - begin : ROWS;
        one(w, (const int32_t*)x + begin * w.steps, w.steps, count, p, sums);
        for (int64_t m = 0; m < count; m++) done(begin + m, sums + m * PANEL);
    }
}

// For each 16 outputs of a finished row, `f(column, sums, how many are real)`; the bias is added.
template <class F>
INLINE void by_vector(const Matrix& w, int64_t p, const float* sums, F f) {
    for (int64_t j = 0; j < PANEL; j += 16) {
        int64_t n = p * PANEL + j, real = w.n - n;
        if (real <= 0) return;
        f32x16 y = load(sums + j);
        if (real > 16) real = 16;
        if (w.bias) y += get(w.bias + n, real);
        f(n, y, real);
    }
}
