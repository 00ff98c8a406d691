// The feed-forward part of a layer as experts, of which each row goes through a few (`models/experts.py`).
//
// Pairs of a row and one of its experts are brought into the order of experts, so that an expert's weights meet all
// their rows at once. What a row's experts give is added to it in the order of experts; a thread owns some outputs of
// all rows, so nothing is added by two.
#pragma once

#include <cmath>

#include "rows.h"

struct Experts {
    int64_t count, chosen;
    int64_t normalised;  // the weights of a row's experts add up to 1
    Matrix router;
    const Matrix *gate_up, *down;  // [count]
};

// Room for the pairs of one pass.
struct Pairs {
    float* scores;     // [rows, count]
    int32_t* experts;  // [rows, chosen]
    float* weights;    // [rows, chosen]
    int32_t* order;    // [rows * chosen] pairs, those of an expert side by side
    int32_t* starts;   // [count + 1] where those of each expert begin
    void* gathered;    // [rows * chosen, stride of hidden]
};

// The experts of a row, by falling weight, of equals the first; numbers that are no numbers come last.
INLINE void route(const float* scores, const Experts& e, int32_t* chosen, float* weights) {
    float top = -INFINITY, last = INFINITY, picked = 0.0f;
    for (int64_t i = 0; i < e.count; i++) top = scores[i] > top ? scores[i] : top;
    for (int64_t k = 0, at = -1; k < e.chosen; k++) {
        int64_t best = -1;
        for (int64_t i = 0; i < e.count; i++)
            if ((scores[i] < last || (scores[i] == last && i > at)) && (best < 0 || scores[i] > scores[best])) best = i;
        chosen[k] = (int32_t)(best < 0 ? k : best);
        at = best < 0 ? k : best, last = scores[at];
    }
    float total = 0.0f;
    auto likely = [&](float score) { return exp(all(score - top))[0]; };
    for (int64_t i = 0; i < e.count; i++) total += e.normalised ? 0.0f : likely(scores[i]);
    for (int64_t k = 0; k < e.chosen; k++) picked += weights[k] = likely(scores[chosen[k]]);
    for (int64_t k = 0; k < e.chosen; k++) weights[k] /= e.normalised ? picked : total;
}

// Pairs in the order of their experts, and of rows within each.
INLINE void sort_pairs(const Experts& e, const Pairs& to, int64_t pairs) {
    std::memset(to.starts, 0, (e.count + 1) * sizeof *to.starts);
    for (int64_t i = 0; i < pairs; i++) to.starts[to.experts[i]]++;
    for (int64_t i = 0, before = 0; i <= e.count; i++) {
        int32_t own = to.starts[i];
        to.starts[i] = (int32_t)before, before += own;
    }
    for (int64_t i = 0; i < pairs; i++) to.order[to.starts[to.experts[i]]++] = (int32_t)i;
    for (int64_t i = e.count; i > 0; i--) to.starts[i] = to.starts[i - 1];
    to.starts[0] = 0;
}

// The panels of an expert that are this thread's, where a panel of all experts costs what its rows do and what reading
// it does: `before` is the cost of the experts before it, `all` that of all.
struct Turn {
    int64_t begin, end;
    Turn(int64_t before, int64_t cost, int64_t panels, int64_t all) {
        int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
        auto first = [&](int64_t share) {
            int64_t at = all * share / threads - before;
            return at <= 0 ? 0 : at >= cost * panels ? panels : (at + cost - 1) / cost;
        };
        begin = first(thread), end = thread + 1 == threads ? panels : first(thread + 1);
    }
};

// `normed` [rows, stride of hidden] through the experts, added to x [rows, hidden]; `inner` [rows * chosen, stride of
// the gate] is room for what is between. Called by all threads of a parallel region.
template <class T>
static void feed_experts(const Experts& e, const Pairs& room, const T* normed, int64_t rows, T* inner, float* x,
                         int gelu) {
    const int64_t pairs = rows * e.chosen, stride = width<T>(e.router), wide = width<T>(e.down[0]);
    const int64_t reading = 6;  // rows that cost as much as reading a panel
    product(e.router, normed, rows, [&](int64_t m, int64_t p, const float* sums) {
        by_vector(e.router, p, sums,
                  [&](int64_t n, f32x16 y, int64_t real) { put(room.scores + m * e.count + n, y, real); });
    });
#pragma omp barrier
    Share own(rows);
    for (int64_t m = own.begin; m < own.end; m++)
        route(room.scores + m * e.count, e, room.experts + m * e.chosen, room.weights + m * e.chosen);
#pragma omp barrier
#pragma omp single
    sort_pairs(e, room, pairs);
    Share some(pairs);
    T* gathered = (T*)room.gathered;
    for (int64_t i = some.begin; i < some.end; i++)
        std::memcpy(gathered + i * stride, normed + room.order[i] / e.chosen * stride, stride * sizeof(T));
#pragma omp barrier
    int64_t cost = 0, before = 0;
    for (int64_t i = 0; i < e.count; i++) {
        int64_t count = room.starts[i + 1] - room.starts[i];
        if (count) cost += (count + reading) * e.gate_up[i].count();
    }
    for (int64_t i = 0; i < e.count; i++) {
        int64_t begin = room.starts[i], count = room.starts[i + 1] - begin;
        if (!count) continue;
        const Matrix& w = e.gate_up[i];
        Turn turn(before, count + reading, w.count(), cost);
        before += (count + reading) * w.count();
        for (int64_t p = turn.begin; p < turn.end; p++)
            panel<T>(w, gathered + begin * stride, count, p, [&](int64_t m, const float* sums) {
                gate(w, p, sums, inner + (begin + m) * wide + p * 32, gelu);
            });
    }
#pragma omp barrier
    Share outputs(e.down[0].count());
    for (int64_t i = 0; i < e.count; i++) {
        int64_t begin = room.starts[i], count = room.starts[i + 1] - begin;
        const Matrix& w = e.down[i];
        for (int64_t p = outputs.begin; count && p < outputs.end; p++)
            panel<T>(w, inner + begin * wide, count, p, [&](int64_t m, const float* sums) {
                int64_t pair = room.order[begin + m];
                float* out = x + pair / e.chosen * w.n;
                by_vector(w, p, sums, [&](int64_t n, f32x16 y, int64_t real) {
                    put(out + n, get(out + n, real) + y * room.weights[pair], real);
                });
            });
    }
}
