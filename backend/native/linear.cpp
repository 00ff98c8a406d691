// Linear layers on their own, for models that are made of them.
#include "linear.h"

#include <sys/mman.h>

template <class T, class Out>
static void run(const void* x, const Matrix& w, Out* out, int64_t rows, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    multiply<T>(w, x, w.steps, rows, omp_get_thread_num(), omp_get_num_threads(),
                [&](int64_t m, int64_t p, const float* sums) {
                    by_vector(w, p, sums, [&](int64_t n, f32x16 y, int64_t real) { put(out + m * w.n + n, y, real); });
                });
}

// x [rows, 4 * steps bytes] bf16 if `half`, else float; out [rows, n] of the same type, or float if `wide`.
API void linear(const void* x, const Matrix* w, void* out, int64_t rows, int half, int wide, int threads) {
    if (!half)
        run<float>(x, *w, (float*)out, rows, threads);
    else if (wide)
        run<bf16>(x, *w, (float*)out, rows, threads);
    else
        run<bf16>(x, *w, (bf16*)out, rows, threads);
}

// Rows of weight [n, steps] to panels, the last one filled up with zeros.
API void pack(const int32_t* weight, int64_t n, int64_t steps, int32_t* panels, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t first = 0; first < n; first += PANEL)
        for (int64_t k = 0; k < steps; k += 16) {  // a line of the cache of each row
            int64_t rows = n - first < PANEL ? n - first : PANEL, some = steps - k < 16 ? steps - k : 16;
            int32_t lines[PANEL][16] = {}, *out = panels + first * steps + k * PANEL;
            for (int64_t i = 0; i < rows; i++) std::memcpy(lines[i], weight + (first + i) * steps + k, some * 4);
            for (int64_t j = 0; j < some; j++)
                for (int64_t i = 0; i < PANEL; i++) out[j * PANEL + i] = lines[i][j];
        }
}

template <class T>
static void pack_codes(const int8_t* codes, int64_t n, int64_t steps, int8_t* panels, int threads) {
    constexpr int64_t EACH = CODES<T>, LINE = 16 * EACH;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t first = 0; first < n; first += PANEL)
        for (int64_t k = 0; k < steps; k += 16) {
            int64_t rows = n - first < PANEL ? n - first : PANEL, some = steps - k < 16 ? steps - k : 16;
            int8_t lines[PANEL][LINE] = {}, *out = panels + (first * steps + k * PANEL) * EACH;
            for (int64_t o = 0; o < rows; o++)
                std::memcpy(lines[o], codes + ((first + o) * steps + k) * EACH, some * EACH);
            for (int64_t j = 0; j < some; j++)
                for (int64_t o = 0; o < PANEL; o++)
                    for (int64_t i = 0; i < EACH; i++)
                        out[j * PANEL * EACH + place(o, i, T())] = written(lines[o][j * EACH + i], T());
        }
}

// Rows of codes [n, steps, 2 if `half` else 1] to panels, the last one filled up with zeros.
API void pack_int8(const int8_t* codes, int64_t n, int64_t steps, int half, int8_t* panels, int threads) {
    (half ? pack_codes<bf16> : pack_codes<float>)(codes, n, steps, panels, threads);
}

// Asks for large pages under memory that nothing was written to yet: weights then stream faster.
API void large_pages(void* begin, int64_t bytes) {
#ifdef MADV_HUGEPAGE
    const uintptr_t page = 2 << 20;
    uintptr_t first = ((uintptr_t)begin + page - 1) / page * page, end = ((uintptr_t)begin + bytes) / page * page;
    if (first < end) madvise((void*)first, end - first, MADV_HUGEPAGE);
#endif
}
