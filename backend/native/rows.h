// What the parts of a decoder's layers share: whose turn it is, products of a pass's rows, the gate.
#pragma once

#include "linear.h"

// The part [begin, end) of `count` that is this thread's.
struct Share {
    int64_t begin, end;
    explicit Share(int64_t count) {
        int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
        begin = count * thread / threads, end = count * (thread + 1) / threads;
    }
};

template <class T, class Done>
INLINE void product(const Matrix& w, const T* x, int64_t rows, Done done) {
    multiply<T>(w, x, w.steps, rows, omp_get_thread_num(), omp_get_num_threads(), done);
}

template <class T>
static int64_t width(const Matrix& w) {  // of a row of what w reads
    return w.steps * 4 / sizeof(T);
}

// f(gate) * up of a finished panel p, 32 values of both side by side: f is silu, or the tanh form of GELU, which is
// gate times the sigmoid of twice its polynomial.
template <class T>
INLINE void gate(const Matrix& w, int64_t p, const float* sums, T* out, int gelu) {
    for (int j = 0; j < 32; j += 16) {
        f32x16 gate = load(sums + j), up = load(sums + 32 + j);
        if (w.bias) {
            gate += load(w.bias + p * PANEL + j);
            up += load(w.bias + p * PANEL + 32 + j);
        }
        f32x16 z = gelu ? gate * 1.5957691216057308f * fma(gate * gate, all(0.044715f), all(1.0f)) : gate;
        f32x16 decay = exp(pick(z < all(-87.0f), all(87.0f), -z));
        store(out + j, gate / (decay + 1.0f) * up);
    }
}
