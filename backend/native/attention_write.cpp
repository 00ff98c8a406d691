// K and V of a step's rows into the cache.
#include <cmath>

#include "attention.h"

using namespace attention;

namespace {

// x [dim] as whole numbers of -127 .. 127 times a scale; what is not finite makes the scale so, and numbers zero.
template <class T>
float encode(const T* x, int64_t dim, int8_t* out) {
    float top = 0.0f;
    bool finite = true;
    for (int64_t i = 0; i < dim; i++) {
        float value = std::fabs(widen(x[i]));
        finite &= value <= 3.4028234664e38f;
        top = value > top ? value : top;
    }
    float scale = finite ? top / 127.0f : NAN;
    bool some = scale > 0.0f;
    for (int64_t i = 0; i < dim; i++) out[i] = some ? (int8_t)std::nearbyint(widen(x[i]) / scale) : 0;
    return scale;
}

template <class T>
void rows_of(const Shape& shape, void* data, float* scales, const T* x, int64_t stride, int64_t row, int64_t slot) {
    int64_t dim = shape.head_dim;
    for (int64_t head = 0; head < shape.kv_heads; head++) {
        const T* from = x + row * stride + head * dim;
        int64_t to = head * shape.slots + slot;
        if (shape.coded)
            scales[to] = encode(from, dim, (int8_t*)data + to * dim);
        else
            std::memcpy((T*)data + to * dim, from, dim * sizeof(T));
    }
}

template <class T>
void write(const Shape& shape, const Store& store, const T* k, int64_t k_stride, const T* v, int64_t v_stride,
           const int64_t* slots, int64_t rows) {
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        if (slots[row] < 0) continue;
        rows_of(shape, store.keys, store.key_scales, k, k_stride, row, slots[row]);
        rows_of(shape, store.values, store.value_scales, v, v_stride, row, slots[row]);
    }
}

}  // namespace

void attention::write_rows(const Shape& shape, const Store& store, const void* k, int64_t k_stride, const void* v,
                int64_t v_stride, const int64_t* slots, int64_t rows) {
    if (shape.half)
        write(shape, store, (const bf16*)k, k_stride, (const bf16*)v, v_stride, slots, rows);
    else
        write(shape, store, (const float*)k, k_stride, (const float*)v, v_stride, slots, rows);
}
