// Planning a step: which queries are computed side by side, and in which order tiles are handed to threads.
#include <algorithm>
#include <vector>

#include "attention.h"

using namespace attention;

struct Span {
    int64_t row, start, count;
    const int64_t* slots;
};

namespace {

// Contexts that begin alike become neighbours: the order of slots at the ends of chunks, then of lengths. Slots belong
// to places of the prefix tree, so contexts with the same slot somewhere agree in all that comes before.
bool before(const Span& a, const Span& b) {
    int64_t same = 0, differ = std::min(a.start + 1, b.start + 1) / CHUNK + 1, both = differ - 1;
    while (differ - same > 1) {
        int64_t middle = (same + differ) / 2, last = middle * CHUNK - 1;
        (a.slots[last] == b.slots[last] ? same : differ) = middle;
    }
    int64_t next = (same + 1) * CHUNK - 1;
    return same < both ? a.slots[next] < b.slots[next] : a.start < b.start;
}

}  // namespace

// What attention_order writes: this, places [count] of spans in an order in which contexts that begin alike are
// neighbours, and the addresses [count] of their slots.
struct Order {
    int64_t count;
    int64_t left;  // steps for which it may be kept

    int64_t* places() { return (int64_t*)(this + 1); }
    int64_t* paths() { return places() + count; }
};

// spans [count][4]: first row, position of the first query, number of queries, address of the slots. While the same
// requests decode their order holds, and to find it anew would read all their slots; so it is kept for the length of a
// chunk. By then contexts that were too short to be told apart may have grown, or other ones taken their memory.
API void attention_order(const Span* spans, int64_t count, Order* order) {
    bool decoding = true, same = order->count == count && order->left > 0;
    for (int64_t i = 0; i < count; i++) {
        decoding = decoding && spans[i].count == 1;
        same = same && order->paths()[i] == (int64_t)spans[i].slots;
    }
    if (same && decoding) {
        order->left--;
        return;
    }
    *order = {count, decoding ? CHUNK : 0};
    int64_t *places = order->places(), *paths = order->paths();
    for (int64_t i = 0; i < count; i++) places[i] = i, paths[i] = (int64_t)spans[i].slots;
    std::stable_sort(places, places + count, [&](int64_t a, int64_t b) { return before(spans[a], spans[b]); });
}

// Of spans in that order; window 0: none. Writes tiles of at most `shape->size` queries, the dearest first;
// 5 + 10 * queries numbers are room enough.
API void attention_plan(const Span* spans, int64_t count, Order* order, int64_t window, const Shape* shape, Plan* plan) {
    int64_t queries = 0, size = shape->size;
    for (int64_t i = 0; i < count; i++) queries += spans[i].count;
    *plan = {(queries + size - 1) / size, queries, 0, 0, 0};
    Tile* tile = (Tile*)plan->tile();
    Query* query = (Query*)plan->query();
    for (int64_t s = 0; s < count; s++) {
        const Span& span = spans[order->places()[s]];
        for (int64_t i = 0; i < span.count; i++) {
            int64_t position = span.start + i, first = window ? std::max<int64_t>(0, position - window + 1) : 0;
            *query++ = {span.row + i, position, first, span.slots};
            plan->chunks += position / CHUNK - first / CHUNK + 1;
        }
    }
    std::vector<int64_t> price(plan->tiles, 0);
    query = (Query*)plan->query();
    for (int64_t t = 0; t < plan->tiles; t++) {
        Tile& one = tile[t] = {t * size, std::min(size, queries - t * size), INT64_MAX, 0, 1, 0};
        for (const Query* q = query + one.begin; q < query + one.begin + one.count; q++) {
            int64_t from = q->first / CHUNK, to = q->position / CHUNK + 1;
            one.from = std::min(one.from, from), one.to = std::max(one.to, to);
            price[t] += to - from;
        }
        // A task of more than half of a thread's share of all lets others wait for it, unless each has one such task.
        int64_t whole = plan->chunks * shape->kv_heads, equal = price[t] * shape->threads;
        if (shape->threads > 1 && 2 * equal > whole && equal != whole) one.tasks = one.segments();
    }
    std::stable_sort(tile, tile + plan->tiles, [&](const Tile& a, const Tile& b) {
        bool cut = a.tasks > 1;
        return cut != b.tasks > 1 ? cut : price[a.begin / size] > price[b.begin / size];
    });
    for (int64_t t = 0; t < plan->tiles; t++) {
        tile[t].task = plan->tasks;
        plan->tasks += tile[t].tasks;
        plan->cut += tile[t].tasks > 1;
    }
}
