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

// Asks for large pages under memory that nothing was written to yet: weights then stream faster.
API void large_pages(void* begin, int64_t bytes) {
#ifdef MADV_HUGEPAGE
    const uintptr_t page = 2 << 20;
    uintptr_t first = ((uintptr_t)begin + page - 1) / page * page, end = ((uintptr_t)begin + bytes) / page * page;
    if (first < end) madvise((void*)first, end - first, MADV_HUGEPAGE);
#endif
}
