// Root mean square norm (Zhang and Sennrich, arXiv 1910.07467) of rows.
#include "norm.h"

template <class T>
static void rows(const T* x, const T* weight, T* out, int64_t count, int64_t width, float eps, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < count; i++) rms_norm_row(x + i * width, weight, out + i * width, width, eps);
}

// x, out [count, width]; weight [width]; all bf16 if `half`, else float.
API void rms_norm(const void* x, const void* weight, void* out, int64_t count, int64_t width, float eps, int half,
                  int threads) {
    if (half)
        rows((const bf16*)x, (const bf16*)weight, (bf16*)out, count, width, eps, threads);
    else
        rows((const float*)x, (const float*)weight, (float*)out, count, width, eps, threads);
}
