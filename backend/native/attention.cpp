// Paged attention of one layer over a plan.
//
// A tile's queries go through their chunks from the first that any of them sees to the last. Neighbours that find the
// same keys in a chunk are one matrix product (Hydragen: Juravsky et al., arXiv 2402.05099), whether they belong to one
// request or to many that share a prefix; the keys are brought into order once for all of them. Each segment of chunks
// is summed by itself, so that threads can share a long context (Flash-Decoding: Dao et al., 2023); results are added
// in the order of segments whoever computed them.
#include "attention.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <omp.h>

#include "attending.h"
#include "attention_block.h"

using namespace attention;

namespace {

// Cuts a thread's memory into aligned pieces; from null, only counts.
struct Memory {
    char* at;

    template <class T>
    T* take(int64_t count) {
        T* found = (T*)at;
        at += (count * sizeof(T) + 63) / 64 * 64;
        return found;
    }
};

INLINE int64_t padded(int64_t dim) { return (dim + 15) / 16 * 16; }

Running take_running(Memory& memory, int64_t rows, int64_t width) {
    return {memory.take<float>(rows), memory.take<float>(rows * 16), memory.take<float>(rows * width), width};
}

template <class F>
struct Room {
    typedef typename F::Word Word;
    Word *queries, *keys, *values;
    typename F::Plain *plain, *zeros;
    float *key_scales, *value_scales;
    Seen* seen;
    Running total, more;  // of a tile so far, of its next segment
    char* end;

    Room(const Shape& s, int64_t width, char* begin) {
        Memory memory = {begin};
        int64_t rows = s.size * s.fold(), dim = s.head_dim;
        queries = memory.take<Word>(rows * dim / F::PAIR);
        keys = memory.take<Word>(CHUNK * dim / F::PAIR);
        values = memory.take<Word>(CHUNK * width / F::PAIR);
        plain = memory.take<typename F::Plain>(CHUNK * dim);
        zeros = memory.take<typename F::Plain>(dim);
        key_scales = memory.take<float>(CHUNK);
        value_scales = memory.take<float>(CHUNK);
        seen = memory.take<Seen>(rows);
        total = take_running(memory, rows, width);
        more = take_running(memory, rows, width);
        end = memory.at;
    }
};

// Whether two neighbouring queries, which both see keys of this chunk, find the same ones there.
INLINE bool together(const Query& a, const Query& b, int64_t chunk) {
    int64_t last = chunk * CHUNK + CHUNK - 1;
    if (a.slots == b.slots) return true;
    return last <= a.position && last <= b.position && a.slots[last] == b.slots[last];
}

// F: format of products, E: of elements, Cell: of the cache.
template <class F, class E, class Cell>
struct Worker {
    typedef typename F::Word Word;
    const Shape& shape;
    const Plan& plan;
    const Store& store_;
    const E* q;
    int64_t q_stride;
    E* out;
    Room<F> room;
    int64_t fold, dim, width, depth;
    Scale scale;

    Worker(const Shape& s, const Plan& p, const Store& store, const void* q, int64_t q_stride, void* out, char* memory)
        : shape(s), plan(p), store_(store), q((const E*)q), q_stride(q_stride), out((E*)out),
          room(s, padded(s.head_dim), memory), fold(s.fold()), dim(s.head_dim),
          width(padded(s.head_dim)), depth(s.head_dim / F::PAIR),
          scale{(float)(1.44269504088896340736 / std::sqrt(s.divisor)), (float)s.limit} {
        std::memset(room.zeros, 0, dim * sizeof *room.zeros);
    }

    // A whole tile.
    void compute(const Tile& tile, int64_t head) {
        sum_segment(tile, head, 0, room.total);
        for (int64_t i = 1; i < tile.segments(); i++) {
            sum_segment(tile, head, i, room.more);
            add(room.total, room.more, tile.count * fold);
        }
        finish(tile, head, room.total);
    }

    // The tile's queries against the chunks of its i-th segment.
    void sum_segment(const Tile& tile, int64_t head, int64_t i, const Running& to) {
        const Query* query = plan.query() + tile.begin;
        int64_t rows = tile.count * fold, segment = tile.from / SEGMENT + i;
        int64_t begin = std::max(tile.from, segment * SEGMENT), end = std::min(tile.to, (segment + 1) * SEGMENT);
        for (int64_t i = 0; i < tile.count; i++) {
            const E* from = q + query[i].row * q_stride + head * fold * dim;
            convert(from, (typename F::Plain*)(room.queries + i * fold * depth), fold * dim);
        }
        std::fill(to.top, to.top + rows, LOWEST);
        std::memset(to.mass, 0, rows * 16 * sizeof(float));
        std::memset(to.mix, 0, rows * width * sizeof(float));
        for (int64_t chunk = begin; chunk < end; chunk++) {
            auto sees = [&](const Query& one) {
                return one.first < (chunk + 1) * CHUNK && chunk * CHUNK <= one.position;
            };
            for (int64_t i = 0, next; i < tile.count; i = next) {
                next = i + 1;
                if (!sees(query[i])) continue;
                while (next < tile.count && sees(query[next]) && together(query[next - 1], query[next], chunk)) next++;
                meet(query, i, next, chunk, head, to);
            }
        }
    }

    void finish(const Tile& tile, int64_t head, const Running& from) {
        const Query* query = plan.query() + tile.begin;
        for (int64_t row = 0; row < tile.count * fold; row++) {
            E* to = out + (query[row / fold].row * shape.heads + head * fold + row % fold) * dim;
            const float* mix = from.mix + row * width;
            float mass = sum(load(from.mass + row * 16));
            int64_t at = 0;
            // What masked keys added may have changed the sign of a zero; + 0 makes it one zero again.
            for (; at + 16 <= dim; at += 16) store(to + at, load(mix + at) / mass + 0.0f);
            if (at < dim) store_part(to + at, load(mix + at) / mass + 0.0f, dim - at);
        }
    }

    // Queries i .. next - 1 of the tile against a chunk that is the same for all of them.
    void meet(const Query* query, int64_t i, int64_t next, int64_t chunk, int64_t head, const Running& to) {
        int64_t base = chunk * CHUNK, most = 0;
        const Query* longest = query + i;
        for (int64_t k = i; k < next; k++) {
            if (query[k].position > longest->position) longest = query + k;
            Seen range = {std::max<int64_t>(0, query[k].first - base), std::min(CHUNK - 1, query[k].position - base)};
            std::fill(room.seen + k * fold, room.seen + (k + 1) * fold, range);
            most = std::max(most, range.to + 1);
        }
        const int64_t* slots = longest->slots + base;
        auto attend = [&](const auto& keys) {
            attend_all<F>(room.queries, depth, keys, room.seen, scale, to, i * fold, next * fold);
        };
        if constexpr (DIRECT && std::is_same<typename F::Plain, Cell>::value)
            if ((next - i) * fold <= Direct<F>::BLOCK && dim % 32 == 0) {
                int64_t after = std::min(CHUNK, longest->position + 1 - base - CHUNK);
                return attend(direct(slots, most, after, head));
            }
        attend(pack(slots, most, head));
    }

    auto direct(const int64_t* slots, int64_t count, int64_t next, int64_t head) const {
        int64_t begin = head * shape.slots * dim;
        const Cell *keys = (const Cell*)store_.keys + begin, *values = (const Cell*)store_.values + begin;
        return Direct<F>{keys, values, slots, dim, count, next, room.zeros};
    }

    Packed<F> pack(const int64_t* slots, int64_t count, int64_t head) {
        const typename F::Plain* rows[CHUNK];
        int64_t begin = head * shape.slots;
        gather((const Cell*)store_.keys + begin * dim, slots, count, dim, room.plain, room.zeros, rows);
        pack_keys((const uint32_t* const*)rows, count, depth, (uint32_t*)room.keys);
        gather((const Cell*)store_.values + begin * dim, slots, count, dim, room.plain, room.zeros, rows);
        pack_values(rows, count, dim, width, room.values);
        if (!shape.coded) return {room.keys, room.values, nullptr, nullptr, count, width};
        for (int64_t i = 0; i < count; i++) {
            room.key_scales[i] = store_.key_scales[begin + slots[i]];
            room.value_scales[i] = store_.value_scales[begin + slots[i]];
        }
        std::fill(room.key_scales + count, room.key_scales + CHUNK, 0.0f);
        std::fill(room.value_scales + count, room.value_scales + CHUNK, 0.0f);
        return {room.keys, room.values, room.key_scales, room.value_scales, count, width};
    }
};

}  // namespace

// Bytes of memory that each thread needs.
API void attention_memory(const Shape* shape, int64_t* bytes) {
    *bytes = (int64_t)Room<Single>(*shape, padded(shape->head_dim), nullptr).end;  // floats are the largest words
}

// Room for what is computed of the tiles that are cut, task by task and K/V head by K/V head.
struct Partials {
    int64_t rows = 0, width, kv_heads, bytes = 0;
    std::unique_ptr<char[]> room;

    Partials(const Shape& shape, const Plan& plan) : width(padded(shape.head_dim)), kv_heads(shape.kv_heads) {
        if (!plan.cut) return;
        for (int64_t t = 0; t < plan.cut; t++) rows = std::max(rows, plan.tile()[t].count * shape.fold());
        const Tile& last = plan.tile()[plan.cut - 1];
        Memory none = {nullptr};
        take_running(none, rows, width);
        bytes = (int64_t)none.at;
        room.reset(new char[(last.task + last.tasks) * kv_heads * bytes]);
    }

    Running at(int64_t task, int64_t head) const {
        Memory memory = {room.get() + (task * kv_heads + head) * bytes};
        return take_running(memory, rows, width);
    }
};

template <class F, class E, class Cell>
static void run(const Shape& shape, const Plan& plan, const Store& store, const void* q, int64_t q_stride, void* out,
                char* memory, const Partials& partials) {
    Worker<F, E, Cell> worker(shape, plan, store, q, q_stride, out, memory);
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < plan.tasks * shape.kv_heads; i++) {
        int64_t task = i / shape.kv_heads, head = i % shape.kv_heads;
        const Tile& tile = plan.tile_of(task);
        if (tile.tasks == 1)
            worker.compute(tile, head);
        else
            worker.sum_segment(tile, head, task - tile.task, partials.at(task, head));
    }
    if (!plan.cut) return;
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < plan.cut * shape.kv_heads; i++) {
        const Tile& tile = plan.tile()[i / shape.kv_heads];
        int64_t head = i % shape.kv_heads;
        Running first = partials.at(tile.task, head);
        for (int64_t k = 1; k < tile.tasks; k++)
            add(first, partials.at(tile.task + k, head), tile.count * shape.fold());
        worker.finish(tile, head, first);
    }
}

// What `attention_run` does, by all threads of a parallel region; all is there when it returns.
static void share(const Shape& shape, const Plan& plan, const Store& store, const void* q, int64_t q_stride,
                  const void* k, int64_t k_stride, const void* v, int64_t v_stride, const int64_t* slots, int64_t rows,
                  void* out, char* memory, const Partials& partials) {
    int64_t bytes;
    attention_memory(&shape, &bytes);
    write_rows(shape, store, k, k_stride, v, v_stride, slots, rows);
    char* mine = memory + omp_get_thread_num() * bytes;
#if defined(__AVX512BF16__)
    typedef Paired Half;
#else
    typedef Single Half;
#endif
    if (shape.half && shape.coded)
        run<Half, bf16, int8_t>(shape, plan, store, q, q_stride, out, mine, partials);
    else if (shape.half)
        run<Half, bf16, bf16>(shape, plan, store, q, q_stride, out, mine, partials);
    else if (shape.coded)
        run<Single, float, int8_t>(shape, plan, store, q, q_stride, out, mine, partials);
    else
        run<Single, float, float>(shape, plan, store, q, q_stride, out, mine, partials);
}

// One layer of a step: k and v [rows, kv_heads, D] to their slots (< 0: nowhere), then q [rows, heads, D] against
// what each query of the plan sees; out [rows, heads, D], rows of no query unchanged. `memory`: for each thread,
// aligned to 64 bytes. Strides are elements from row to row.
API void attention_run(const Shape* shape, const Plan* plan, const Store* store, const void* q, int64_t q_stride,
                       const void* k, int64_t k_stride, const void* v, int64_t v_stride, const int64_t* slots,
                       int64_t rows, void* out, char* memory) {
    bool small = plan->chunks * shape->heads < 16;  // a team would cost more than it gains
    Partials partials(*shape, *plan);
#pragma omp parallel num_threads(small ? 1 : shape->threads)
    share(*shape, *plan, *store, q, q_stride, k, k_stride, v, v_stride, slots, rows, out, memory, partials);
}

struct Attending {
    const Shape* shape;
    const Plan* const* plans;  // [layers]
    const Store* stores;       // [layers]
    const int64_t* slots;      // [rows]
    int64_t rows;
    void* out;  // [rows, heads, head_dim]
    char* memory;
};

API void attention_layer(const Attending* step, int64_t layer, const void* q, const void* k, const void* v) {
    const Shape& s = *step->shape;
    int64_t width = s.kv_heads * s.head_dim;
    attention_run(&s, step->plans[layer], step->stores + layer, q, s.heads * s.head_dim, k, width, v, width,
                  step->slots, step->rows, step->out, step->memory);
}

bool attention_is_whole(const Attending* step, int64_t layers) {
    return std::all_of(step->plans, step->plans + layers, [](const Plan* plan) { return !plan->cut; });
}

void attention_share(const Attending* step, int64_t layer, const void* q, const void* k, const void* v) {
    const Shape& s = *step->shape;
    const Plan& plan = *step->plans[layer];
    int64_t width = s.kv_heads * s.head_dim;
    share(s, plan, step->stores[layer], q, s.heads * s.head_dim, k, width, v, width, step->slots, step->rows, step->out,
          step->memory, Partials(s, plan));
}
