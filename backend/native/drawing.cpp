// One token of each row of logits: `sampler.py` says which, this is how. Nothing is kept of a row but sums.
//
// In order of ids, or, where a filter looks at the likeliest first, by rank. A row is computed by one thread, from its
// own values alone.
#include <cmath>

#include "drawing_rank.h"

static int64_t draw_in_order(const Row& row) {
    static thread_local std::vector<double> sums;
    Blocks all(row, sums);
    return all.at(row.wish.uniform * all.total);
}

static int64_t draw_by_rank(const Row& row) {
    static thread_local std::vector<uint16_t> keys;
    static thread_local std::vector<Entry> entries;
    Buckets all(row, keys, entries);
    const Wish& wish = row.wish;
    bool some = wish.top_k && wish.top_k < all.count;
    int64_t n = some ? wish.top_k : all.count;
    if (wish.top_p < 1) n = std::min(n, all.reach(wish.top_p * (some ? all.weight(n) : all.total)));
    n = std::max<int64_t>(1, std::min(n, all.kept));
    return all.at(wish.uniform * all.weight(n), n);
}

static int64_t drawn(const Row& row) {
    if (row.wish.temperature == 0) return row.likeliest();
    return row.wish.top_k || row.wish.top_p < 1 ? draw_by_rank(row) : draw_in_order(row);
}

static float top_of(const Row& row) { return row.nan ? std::numeric_limits<float>::quiet_NaN() : row.top; }

// tokens [count], and the largest logits that may be drawn, tops [count]: not finite where nothing can be, or for NaN.
API void draw(const Wish* wishes, int64_t count, int64_t vocab, int64_t* tokens, float* tops, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int64_t i = 0; i < count; i++) {
        Row row(wishes[i], vocab);
        tops[i] = top_of(row);
        tokens[i] = std::isfinite(tops[i]) ? drawn(row) : -1;
    }
}

// `mix`, `retry_key` and `uniform` of `random_keys.py`.
static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static uint64_t retry_key(uint64_t key) { return mix(key ^ 0xA0761D6478BD642Fu); }

static double uniform(uint64_t key, uint64_t index) {
    return (double)(mix(mix(key) + (index + 1) * 0x9E3779B97F4A7C15u) >> 11) * 0x1p-53;
}

// How a row is drawn from as it is.
struct Bare {
    double temperature, top_p, min_p;
    int64_t top_k;
    uint64_t key;
    int64_t prompt;  // tokens

    bool filters() const { return top_k || top_p < 1 || min_p > 0; }

    // At the token behind a position.
    Wish wish(const float* logits, const int32_t* mask, uint64_t by, int64_t position, int64_t vocab) const {
        double place = temperature == 0 ? 0 : uniform(by, position + 1 - prompt);
        return {logits, mask, temperature, top_p, min_p, place, top_k < vocab ? top_k : 0};
    }
};

static const double SLIGHT = 1e-200;  // such weights are measured anew, against the largest of them

// What is drawn from a row by `key`, then of what is left, without filters, ids[0], ids[stride], ...; -1 where there is
// nothing.
static void propose(Row row, uint64_t key, uint64_t index, int64_t* ids, int64_t stride, int64_t tries) {
    static thread_local std::vector<double> sums;
    Blocks all(row, sums);
    for (int64_t n = 0; n < tries; n++, key = retry_key(key)) {
        int64_t id = ids[n * stride] = all.at(uniform(key, index) * all.total);
        if (n + 1 == tries) return;
        row.gone[row.losses++] = id;
        all.measure(id / BLOCK);
        if (all.total >= SLIGHT) continue;
        row.measure();
        if (row.top == NEVER) return;
        all.measure();
    }
}

// The same of rows of logits [count, vocab], those after `positions` [count], tokens [tries, count]; those after the
// first are drawn without filters and at a temperature only, from what is left. -1 where nothing can be drawn.
API void draw_bare(const float* logits, const Bare* draws, const int64_t* positions, int64_t* tokens, int64_t count,
                   int64_t vocab, int64_t tries, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int64_t i = 0; i < count; i++) {
        const Bare& d = draws[i];
        Wish wish = d.wish(logits + i * vocab, nullptr, d.key, positions[i], vocab);
        Row row(wish, vocab);
        for (int64_t n = 0; n < tries; n++) tokens[n * count + i] = -1;
        if (!std::isfinite(top_of(row))) continue;
        if (tries > 1 && d.temperature > 0 && !d.filters())
            propose(row, d.key, positions[i] + 1 - d.prompt, tokens + i, count, std::min(tries, TRIES));
        else
            tokens[i] = drawn(row);
    }
}

// Of some rows of such logits, `rows` [count], a token each under its mask, tokens [count]: by the key after those of
// all tries, where there would be some. -1 where nothing can be drawn.
API void draw_under(const float* logits, const Bare* draws, const int64_t* positions, const int64_t* rows,
                    const int32_t* const* masks, int64_t count, int64_t vocab, int64_t* tokens, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int64_t at = 0; at < count; at++) {
        int64_t i = rows[at];
        const Bare& d = draws[i];
        uint64_t key = d.key;
        for (int64_t n = 0; n < TRIES && !d.filters(); n++) key = retry_key(key);
        Wish wish = d.wish(logits + i * vocab, masks[at], key, positions[i], vocab);
        Row row(wish, vocab);
        tokens[at] = std::isfinite(top_of(row)) ? drawn(row) : -1;
    }
}

// What the weights of each row of logits [count, vocab] add up to at temperature 1, in ln, masses [count], and the
// largest, tops [count].
API void weigh(const float* logits, int64_t count, int64_t vocab, double* masses, float* tops, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int64_t i = 0; i < count; i++) {
        static thread_local std::vector<double> sums;
        Wish wish = {logits + i * vocab, nullptr, 1, 1, 0, 0, 0};
        Row row(wish, vocab);
        tops[i] = top_of(row);
        masses[i] = std::log(Blocks(row, sums).total);
    }
}

// The `count` largest of logits [vocab], the largest first, ties in order of ids; ids [count]. Says how many there are:
// none are NaN or -inf.
API void likeliest(const float* logits, int64_t vocab, int64_t count, int64_t* ids, int64_t* found) {
    Wish wish = {logits, nullptr, 0, 1, 0, 0, 0};
    std::vector<float> best(count, NEVER);
    int64_t n = 0;
    for (int64_t i = 0; i < vocab; i += 16) {
        f32x16 z = at(wish, vocab, i);
        if (!any(__builtin_convertvector(z > all(best[count - 1]), i16x16))) continue;
        for (int64_t j = 0; j < 16; j++) {
            if (!(z[j] > best[count - 1])) continue;
            int64_t place = n < count ? n++ : count - 1;
            for (; place > 0 && z[j] > best[place - 1]; place--) best[place] = best[place - 1], ids[place] = ids[place - 1];
            best[place] = z[j], ids[place] = i + j;
        }
    }
    *found = n;
}
