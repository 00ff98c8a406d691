// The layers of a decoder (`models/decoder.py`): two parallel regions per layer, with attention between them, or one for
// all layers.
// The rows' residual stream is float; what products read is rounded to the model's type once.
#include "attending.h"
#include "experts.h"
#include "norm.h"
#include "rows.h"

struct Layer {
    const float* norm;        // [hidden], or null for none
    Matrix qkv;               // queries, keys, values of all heads
    const float* qk_norm;     // [heads + kv_heads, head_dim] or null
    Matrix o;
    const float* mlp_norm;    // [hidden], or null
    Matrix gate_up;           // in turns 32 outputs of gate, 32 of up
    Matrix down;
    const Experts* experts;   // in place of these two, or null
    const float* after_norm;  // [hidden] of what attention gave, or null
    const float* after_mlp_norm;
};

struct Shape {
    int64_t hidden, heads, kv_heads, head_dim;
    float eps;
    int half;  // bf16 instead of float for weights, q, k, v and what is between products
    float embed_scale;
    float logit_cap;  // soft, 0 for none
    int gelu;         // instead of silu
    int qk_joint;     // all of a row's queries are normalised together, and all of its keys
};

// One forward pass: `rows` of everything.
struct Pass {
    int64_t rows;
    int threads;
    float* x;                  // [rows, hidden]
    void* normed;              // [rows, stride of hidden]
    float* wide;               // [rows, (heads + 2 kv_heads) * head_dim]
    void *q, *k, *v;           // [rows, heads, head_dim], [rows, kv_heads, head_dim]
    void* inner;               // [rows, stride of the gate]
    const float *cos, *sin;    // [context, head_dim / 2]
    const int64_t* positions;  // [rows]
    Pairs pairs;
    float* more;               // [rows, hidden], what is normalised before it is added to x
};

template <class T>
static void normalise(const Shape& s, const Pass& at, const float* weight, const Matrix& next) {
    Share rows(at.rows);
    for (int64_t m = rows.begin; m < rows.end; m++) {
        const float* from = at.x + m * s.hidden;
        T* to = (T*)at.normed + m * width<T>(next);
        if (weight) {
            rms_norm_row(from, weight, to, s.hidden, s.eps);
            continue;
        }
        for (int64_t i = 0; i < s.hidden; i += 16) {
            int64_t real = s.hidden - i < 16 ? s.hidden - i : 16;
            put(to + i, get(from + i, real), real);
        }
    }
}

template <class T>
static void add(const Pass& at, const Matrix& w, const T* x, float* to) {
    product(w, x, at.rows, [&](int64_t m, int64_t p, const float* sums) {
        by_vector(w, p, sums, [&](int64_t n, f32x16 y, int64_t real) {
            float* out = to + m * w.n + n;
            put(out, get(out, real) + y, real);
        });
    });
}

// Where a part of a layer adds what it gives: to x, or, if that is normalised, to nothing yet.
static float* target(const Shape& s, const Pass& at, const float* norm) {
    if (!norm) return at.x;
    Share rows(at.rows);
    std::memset(at.more + rows.begin * s.hidden, 0, (rows.end - rows.begin) * s.hidden * sizeof(float));
#pragma omp barrier
    return at.more;
}

// Adds `more` to x, normalised if there is a norm.
static void take(const Shape& s, const Pass& at, const float* norm) {
    Share rows(at.rows);
    for (int64_t m = rows.begin; m < rows.end; m++) {
        float *more = at.more + m * s.hidden, *x = at.x + m * s.hidden;
        if (norm) rms_norm_row(more, norm, more, s.hidden, s.eps);
        for (int64_t i = 0; i < s.hidden; i += 16) {
            int64_t real = s.hidden - i < 16 ? s.hidden - i : 16;
            put(x + i, get(x + i, real) + get(more + i, real), real);
        }
    }
}

// The end of a part whose results are normalised: they are added to x.
static void settle(const Shape& s, const Pass& at, const float* norm) {
    if (!norm) return;
#pragma omp barrier
    take(s, at, norm);
}

// The rotary embedding of one head; the halves of `x` make the pairs.
template <class T>
INLINE void rotate(const float* x, const float* cos, const float* sin, T* out, int64_t half) {
    for (int64_t i = 0; i < half; i += 16) {
        int64_t real = half - i < 16 ? half - i : 16;
        f32x16 left = get(x + i, real), right = get(x + half + i, real);
        f32x16 c = get(cos + i, real), s = get(sin + i, real);
        put(out + i, fma(left, c, -(right * s)), real);
        put(out + half + i, fma(right, c, left * s), real);
    }
}

template <class T>
static void queries(const Shape& s, const Layer& layer, const Pass& at) {
    const int64_t dim = s.head_dim, turned = s.heads + s.kv_heads, heads = turned + s.kv_heads;
    normalise<T>(s, at, layer.norm, layer.qkv);
#pragma omp barrier
    product(layer.qkv, (const T*)at.normed, at.rows, [&](int64_t m, int64_t p, const float* sums) {
        by_vector(layer.qkv, p, sums,
                  [&](int64_t n, f32x16 y, int64_t real) { put(at.wide + m * heads * dim + n, y, real); });
    });
#pragma omp barrier
    if (layer.qk_norm && s.qk_joint) {
        Share rows(at.rows);
        for (int64_t m = rows.begin; m < rows.end; m++) {
            float *q = at.wide + m * heads * dim, *k = q + s.heads * dim;
            rms_norm_row(q, layer.qk_norm, q, s.heads * dim, s.eps);
            rms_norm_row(k, layer.qk_norm + s.heads * dim, k, s.kv_heads * dim, s.eps);
        }
#pragma omp barrier
    }
    Share share(at.rows * heads);
    for (int64_t i = share.begin; i < share.end; i++) {
        int64_t m = i / heads, h = i % heads;
        float* from = at.wide + i * dim;
        if (h >= turned) {
            T* out = (T*)at.v + (m * s.kv_heads + h - turned) * dim;
            for (int64_t j = 0; j < dim; j += 16) {
                int64_t real = dim - j < 16 ? dim - j : 16;
                put(out + j, get(from + j, real), real);
            }
            continue;
        }
        if (layer.qk_norm && !s.qk_joint) rms_norm_row(from, layer.qk_norm + h * dim, from, dim, s.eps);
        T* out = h < s.heads ? (T*)at.q + (m * s.heads + h) * dim : (T*)at.k + (m * s.kv_heads + h - s.heads) * dim;
        int64_t place = at.positions[m] * (dim / 2);
        rotate(from, at.cos + place, at.sin + place, out, dim / 2);
    }
}

// The inner values of a feed-forward part, rows of `stride`.
template <class T>
static void gates(const Shape& s, const Layer& layer, const Pass& at, int64_t stride) {
    product(layer.gate_up, (const T*)at.normed, at.rows, [&](int64_t m, int64_t p, const float* sums) {
        gate(layer.gate_up, p, sums, (T*)at.inner + m * stride + p * 32, s.gelu);
    });
}

template <class T>
static void rest(const Shape& s, const Layer& layer, const Pass& at, const T* mixed) {
    add(at, layer.o, mixed, target(s, at, layer.after_norm));
    settle(s, at, layer.after_norm);
#pragma omp barrier
    const T* normed = (const T*)at.normed;
    normalise<T>(s, at, layer.mlp_norm, layer.experts ? layer.experts->router : layer.gate_up);
#pragma omp barrier
    float* to = target(s, at, layer.after_mlp_norm);
    if (layer.experts) {
        feed_experts(*layer.experts, at.pairs, normed, at.rows, (T*)at.inner, to, s.gelu);
        return settle(s, at, layer.after_mlp_norm);
    }
    gates<T>(s, layer, at, width<T>(layer.down));
#pragma omp barrier
    add(at, layer.down, (const T*)at.inner, to);
    settle(s, at, layer.after_mlp_norm);
}

static void any_queries(const Shape& s, const Layer& layer, const Pass& at) {
    if (s.half)
        queries<bf16>(s, layer, at);
    else
        queries<float>(s, layer, at);
}

static void any_rest(const Shape& s, const Layer& layer, const Pass& at, const void* mixed) {
    if (s.half)
        rest(s, layer, at, (const bf16*)mixed);
    else
        rest(s, layer, at, (const float*)mixed);
}

// Queries, keys and values of a layer: norm, projections, norms of queries and keys, rotation.
API void decoder_queries(const Shape* s, const Layer* layer, const Pass* at) {
#pragma omp parallel num_threads(at->threads) if (at->threads > 1)
    any_queries(*s, *layer, *at);
}

// The rest of a layer, after attention gave `mixed` [rows, heads * head_dim]: x is changed in place.
API void decoder_rest(const Shape* s, const Layer* layer, const Pass* at, const void* mixed) {
#pragma omp parallel num_threads(at->threads) if (at->threads > 1)
    any_rest(*s, *layer, *at, mixed);
}

// All layers of a step, one after the other: `layers` [count]; `tables` [count, 2], cosines and sines of each; `mixed`,
// where attention leaves what it gives.
API void decoder_layers(const Shape* s, const Layer* const* layers, int64_t count, const float* const* tables,
                        const Pass* at, const Attending* attending, const void* mixed) {
    auto of = [&](int64_t i) {
        Pass here = *at;
        here.cos = tables[2 * i], here.sin = tables[2 * i + 1];
        return here;
    };
    if (at->threads == 1 || !attention_is_whole(attending, count)) {
        for (int64_t i = 0; i < count; i++) {
            Pass here = of(i);
            decoder_queries(s, layers[i], &here);
            attention_layer(attending, i, here.q, here.k, here.v);
            decoder_rest(s, layers[i], &here, mixed);
        }
        return;
    }
#pragma omp parallel num_threads(at->threads)
    for (int64_t i = 0; i < count; i++) {
        Pass here = of(i);
        any_queries(*s, *layers[i], here);
#pragma omp barrier
        attention_share(attending, i, here.q, here.k, here.v);
        any_rest(*s, *layers[i], here, mixed);
#pragma omp barrier
    }
}

// What a rank does between two sums over ranks: adds the first, `more`, to x; norm; inner values, rows of `stride`.
API void decoder_gates(const Shape* s, const Layer* layer, const Pass* at, int64_t stride) {
#pragma omp parallel num_threads(at->threads) if (at->threads > 1)
    {
        take(*s, *at, layer->after_norm);
        if (s->half)
            normalise<bf16>(*s, *at, layer->mlp_norm, layer->gate_up);
        else
            normalise<float>(*s, *at, layer->mlp_norm, layer->gate_up);
#pragma omp barrier
        if (s->half)
            gates<bf16>(*s, *layer, *at, stride);
        else
            gates<float>(*s, *layer, *at, stride);
    }
}

// The end of a rank's layer: adds the second sum, `more`, to x.
API void decoder_take(const Shape* s, const Layer* layer, const Pass* at) {
#pragma omp parallel num_threads(at->threads) if (at->threads > 1)
    take(*s, *at, layer->after_mlp_norm);
}

// x of `ids` [rows]: rows of `table` [vocab, hidden].
API void decoder_embed(const Shape* s, const Pass* at, const int64_t* ids, const void* table) {
#pragma omp parallel for num_threads(at->threads) if (at->threads > 1)
    for (int64_t m = 0; m < at->rows; m++)
        for (int64_t i = 0; i < s->hidden; i += 16) {
            int64_t real = s->hidden - i < 16 ? s->hidden - i : 16, from = ids[m] * s->hidden + i;
            f32x16 x = s->half ? get((const bf16*)table + from, real) : get((const float*)table + from, real);
            put(at->x + m * s->hidden + i, x * s->embed_scale, real);
        }
}

// The final norm of rows `wanted` [count], and their products with the head: `done(row, panel, sums)` in every thread.
template <class T, class Done>
static void head_product(const Shape& s, const Pass& at, const float* norm, const Matrix& head, const int64_t* wanted,
                         int64_t count, T* normed, Done done) {
    Share share(count);
    for (int64_t i = share.begin; i < share.end; i++)
        rms_norm_row(at.x + wanted[i] * s.hidden, norm, normed + i * width<T>(head), s.hidden, s.eps);
#pragma omp barrier
    product(head, normed, count, done);
}

// Logits [count, head.n], float, of rows `wanted` [count].
API void decoder_logits(const Shape* s, const Pass* at, const float* norm, const Matrix* head, const int64_t* wanted,
                        int64_t count, void* normed, float* logits) {
#pragma omp parallel num_threads(at->threads) if (at->threads > 1)
    {
        auto keep = [&](int64_t m, int64_t p, const float* sums) {
            by_vector(*head, p, sums, [&](int64_t n, f32x16 y, int64_t real) {
                put(logits + m * head->n + n, s->logit_cap > 0 ? soft_cap(y, s->logit_cap) : y, real);
            });
        };
        if (s->half)
            head_product(*s, *at, norm, *head, wanted, count, (bf16*)normed, keep);
        else
            head_product(*s, *at, norm, *head, wanted, count, (float*)normed, keep);
    }
}

// The largest logit that one lane of a vector has met, and where; NaN, once met, stays.
struct Best {
    f32x16 value;
    i32x16 index;
};

// Of rows `wanted` [count] the largest logit and its index, the first of equals; NaN if there is one. The logits
// themselves [count, head.n] are written if there is room for them. `best` [threads, count] is room to work in.
API void decoder_likeliest(const Shape* s, const Pass* at, const float* norm, const Matrix* head, const int64_t* wanted,
                           int64_t count, void* normed, Best* best, float* top, int64_t* ids, float* logits) {
    const Best none = {all(-INFINITY), i32x16{} + INT32_MAX};
    for (int64_t i = 0; i < at->threads * count; i++) best[i] = none;
#pragma omp parallel num_threads(at->threads) if (at->threads > 1)
    {
        Best* mine = best + omp_get_thread_num() * count;
        const i32x16 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        auto keep = [&](int64_t m, int64_t p, const float* sums) {
            Best found = mine[m];
            by_vector(*head, p, sums, [&](int64_t n, f32x16 y, int64_t real) {
                if (s->logit_cap > 0) y = soft_cap(y, s->logit_cap);
                if (logits) put(logits + m * head->n + n, y, real);
                if (real < 16) y = pick(lanes < (int32_t)real, y, all(-INFINITY));
                i32x16 place = lanes + (int32_t)n;
                // A thread's panels may come in any order, so that equals are told apart by their place.
                i32x16 better = (y > found.value) | ((y == found.value) & (place < found.index)) | (y != y);
                better &= found.value == found.value;
                found = {pick(better, y, found.value), (better & place) | (~better & found.index)};
            });
            mine[m] = found;
        };
        if (s->half)
            head_product(*s, *at, norm, *head, wanted, count, (bf16*)normed, keep);
        else
            head_product(*s, *at, norm, *head, wanted, count, (float*)normed, keep);
    }
    for (int64_t m = 0; m < count; m++) {
        top[m] = -INFINITY, ids[m] = INT32_MAX;
        for (int64_t t = 0; t < at->threads; t++)
            for (int i = 0; i < 16; i++) {
                float value = best[t * count + m].value[i];
                int32_t index = best[t * count + m].index[i];
                bool better = value > top[m] || (value == top[m] && index < ids[m]) || value != value;
                if (better && top[m] == top[m]) top[m] = value, ids[m] = index;
            }
    }
}
