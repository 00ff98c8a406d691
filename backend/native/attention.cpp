// Paged attention of one layer over a plan.
//
// A tile's queries go through their chunks from the first that any of them sees to the last. Neighbours that find the
// same keys in a chunk are one matrix product (Hydragen: Juravsky et al., arXiv 2402.05099), whether they belong to one
// request or to many that share a prefix; the keys are brought into order once for all of them.
#include "attention.h"

#include <algorithm>
#include <cmath>
#include <omp.h>

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

template <class F>
struct Room {
    typedef typename F::Word Word;
    Word *queries, *keys, *values;
    typename F::Plain *plain, *zeros;
    float *key_scales, *value_scales, *top, *mass, *mix;
    Seen* seen;
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
        top = memory.take<float>(rows);
        mass = memory.take<float>(rows * 16);
        mix = memory.take<float>(rows * width);
        seen = memory.take<Seen>(rows);
        end = memory.at;
    }
};

INLINE int64_t padded(int64_t dim) { return (dim + 15) / 16 * 16; }

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
    float scale;

    Worker(const Shape& s, const Plan& p, const Store& store, const void* q, int64_t q_stride, void* out, char* memory)
        : shape(s), plan(p), store_(store), q((const E*)q), q_stride(q_stride), out((E*)out),
          room(s, padded(s.head_dim), memory), fold(s.fold()), dim(s.head_dim),
          width(padded(s.head_dim)), depth(s.head_dim / F::PAIR),
          scale((float)(1.44269504088896340736 / std::sqrt((double)s.head_dim))) {
        std::memset(room.zeros, 0, dim * sizeof *room.zeros);
    }

    void compute(const Tile& tile, int64_t head) {
        const Query* query = plan.query() + tile.begin;
        int64_t rows = tile.count * fold, begin = INT64_MAX, end = 0;
        for (int64_t i = 0; i < tile.count; i++) {
            begin = std::min(begin, query[i].first / CHUNK), end = std::max(end, query[i].position / CHUNK + 1);
            const E* from = q + query[i].row * q_stride + head * fold * dim;
            convert(from, (typename F::Plain*)(room.queries + i * fold * depth), fold * dim);
        }
        std::fill(room.top, room.top + rows, LOWEST);
        std::memset(room.mass, 0, rows * 16 * sizeof(float));
        std::memset(room.mix, 0, rows * width * sizeof(float));
        for (int64_t chunk = begin; chunk < end; chunk++) {
            auto sees = [&](const Query& one) {
                return one.first < (chunk + 1) * CHUNK && chunk * CHUNK <= one.position;
            };
            for (int64_t i = 0, next; i < tile.count; i = next) {
                next = i + 1;
                if (!sees(query[i])) continue;
                while (next < tile.count && sees(query[next]) && together(query[next - 1], query[next], chunk)) next++;
                meet(query, i, next, chunk, head);
            }
        }
        for (int64_t row = 0; row < rows; row++) {
            E* to = out + (query[row / fold].row * shape.heads + head * fold + row % fold) * dim;
            const float* mix = room.mix + row * width;
            float mass = sum(load(room.mass + row * 16));
            int64_t at = 0;
            // What masked keys added may have changed the sign of a zero; + 0 makes it one zero again.
            for (; at + 16 <= dim; at += 16) store(to + at, load(mix + at) / mass + 0.0f);
            if (at < dim) store_part(to + at, load(mix + at) / mass + 0.0f, dim - at);
        }
    }

    // Queries i .. next - 1 of the tile against a chunk that is the same for all of them.
    void meet(const Query* query, int64_t i, int64_t next, int64_t chunk, int64_t head) {
        int64_t base = chunk * CHUNK, most = 0;
        const Query* longest = query + i;
        for (int64_t k = i; k < next; k++) {
            if (query[k].position > longest->position) longest = query + k;
            Seen range = {std::max<int64_t>(0, query[k].first - base), std::min(CHUNK - 1, query[k].position - base)};
            std::fill(room.seen + k * fold, room.seen + (k + 1) * fold, range);
            most = std::max(most, range.to + 1);
        }
        attend_all<F>(room.queries, depth, pack(longest->slots + base, most, head), room.seen, scale,
                      {room.top, room.mass, room.mix, width}, i * fold, next * fold);
    }

    Packed<F> pack(const int64_t* slots, int64_t count, int64_t head) {
        const typename F::Plain* rows[CHUNK];
        int64_t begin = head * shape.slots;
        gather((const Cell*)store_.keys + begin * dim, slots, count, dim, room.plain, room.zeros, rows);
        pack_keys((const uint32_t* const*)rows, count, depth, (uint32_t*)room.keys);
        gather((const Cell*)store_.values + begin * dim, slots, count, dim, room.plain, room.zeros, rows);
        pack_values(rows, count, dim, width, room.values);
        if (!shape.coded) return {room.keys, room.values, nullptr, nullptr, count};
        for (int64_t i = 0; i < count; i++) {
            room.key_scales[i] = store_.key_scales[begin + slots[i]];
            room.value_scales[i] = store_.value_scales[begin + slots[i]];
        }
        std::fill(room.key_scales + count, room.key_scales + CHUNK, 0.0f);
        std::fill(room.value_scales + count, room.value_scales + CHUNK, 0.0f);
        return {room.keys, room.values, room.key_scales, room.value_scales, count};
    }
};

}  // namespace

// Bytes of memory that each thread needs.
API void attention_memory(const Shape* shape, int64_t* bytes) {
    *bytes = (int64_t)Room<Single>(*shape, padded(shape->head_dim), nullptr).end;  // floats are the largest words
}

template <class F, class E, class Cell>
static void run(const Shape& shape, const Plan& plan, const Store& store, const void* q, int64_t q_stride, void* out,
                char* memory) {
    Worker<F, E, Cell> worker(shape, plan, store, q, q_stride, out, memory);
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < plan.tiles * shape.kv_heads; i++)
        worker.compute(plan.tile()[i / shape.kv_heads], i % shape.kv_heads);
}

// One layer of a step: k and v [rows, kv_heads, D] to their slots (< 0: nowhere), then q [rows, heads, D] against
// what each query of the plan sees; out [rows, heads, D], rows of no query unchanged. `memory`: for each thread,
// aligned to 64 bytes. Strides are elements from row to row.
API void attention_run(const Shape* shape, const Plan* plan, const Store* store, const void* q, int64_t q_stride,
                       const void* k, int64_t k_stride, const void* v, int64_t v_stride, const int64_t* slots,
                       int64_t rows, void* out, char* memory) {
    int64_t bytes;
    attention_memory(shape, &bytes);
    bool small = plan->chunks * shape->heads < 128;  // a team would cost more than it gains
#pragma omp parallel num_threads(small ? 1 : shape->threads)
    {
        write_rows(*shape, *store, k, k_stride, v, v_stride, slots, rows);
        char* mine = memory + omp_get_thread_num() * bytes;
#if defined(__AVX512BF16__)
        typedef Paired Half;
#else
        typedef Single Half;
#endif
        if (shape->half && shape->coded)
            run<Half, bf16, int8_t>(*shape, *plan, *store, q, q_stride, out, mine);
        else if (shape->half)
            run<Half, bf16, bf16>(*shape, *plan, *store, q, q_stride, out, mine);
        else if (shape->coded)
            run<Single, float, int8_t>(*shape, *plan, *store, q, q_stride, out, mine);
        else
            run<Single, float, float>(*shape, *plan, *store, q, q_stride, out, mine);
    }
}
