// Paged attention: what the plan of a step, its execution and the writing of K/V share.
#pragma once

#include <algorithm>

#include "vec.h"

namespace attention {

INLINE float widen(float x) { return x; }
INLINE float widen(bf16 x) { return bits<float>((uint32_t)x << 16); }

constexpr int64_t CHUNK = 64;    // keys per product, counted from position 0
constexpr int64_t SEGMENT = 16;  // chunks, counted from the first, that are summed by themselves before they are added

// One query token of a step. Its heads are neighbouring rows of products, `fold` per K/V head.
struct Query {
    int64_t row;       // of the step
    int64_t position;  // it sees the keys of positions first .. position
    int64_t first;
    const int64_t* slots;  // of its context, by position
};

// Queries begin .. begin + count - 1 of a plan, which see keys of the chunks from .. to - 1. For each K/V head one
// thread computes a tile; where that would be too much for it, one thread each of its segments.
struct Tile {
    int64_t begin, count, from, to;
    int64_t tasks;  // its segments, or 1 if they are computed in one go
    int64_t task;   // the first of them among those of all tiles

    int64_t segments() const { return (to - 1) / SEGMENT - from / SEGMENT + 1; }
};

// What attention_plan writes: this, Tile[tiles], Query[queries].
struct Plan {
    int64_t tiles, queries;
    int64_t chunks;  // that all queries see, added up
    int64_t tasks;   // per K/V head
    int64_t cut;     // tiles with several; they come first

    const Tile* tile() const { return (const Tile*)(this + 1); }
    const Query* query() const { return (const Query*)(tile() + tiles); }
    const Tile& tile_of(int64_t task) const {
        auto before = [](int64_t task, const Tile& tile) { return task < tile.task; };
        return std::upper_bound(tile(), tile() + tiles, task, before)[-1];
    }
};

struct Shape {
    int64_t heads, kv_heads, head_dim;
    int64_t slots;  // of the cache
    int64_t half;   // elements are bf16, else float
    int64_t coded;  // K/V are kept as int8 with a float scale per token and K/V head, else like elements
    int64_t size;   // queries of a tile at most
    int64_t threads;
    double divisor;  // scores are products over its root
    double limit;    // soft, in powers of two; 0: none

    int64_t fold() const { return heads / kv_heads; }
};

// K and V of one layer, [kv_heads, slots, head_dim], and their scales [kv_heads, slots] if they are coded.
struct Store {
    void *keys, *values;
    float *key_scales, *value_scales;
};

// Writes k and v [rows, kv_heads, head_dim], `stride` elements from row to row, into slots [rows]; < 0: nowhere.
// To be called by all threads of a parallel region; all is written when it returns.
void write_rows(const Shape& shape, const Store& store, const void* k, int64_t k_stride, const void* v,
                int64_t v_stride, const int64_t* slots, int64_t rows);

}  // namespace attention
