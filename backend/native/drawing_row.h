// A row of logits that a token is drawn from: what each weighs, and the token at a place in the sum of weights.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "vec64.h"

static const int64_t BLOCK = 128;
static const int64_t TRIES = 2;
typedef int16_t i16x16 __attribute__((vector_size(32)));
static const float NEVER = -std::numeric_limits<float>::infinity();

static bool any(i16x16 mask) {
    int64_t parts[4];
    std::memcpy(parts, &mask, sizeof parts);
    return parts[0] | parts[1] | parts[2] | parts[3];
}

struct Wish {
    const float* logits;  // [vocab]
    const int32_t* mask;  // bit i % 32 of word i / 32: whether id i may be drawn; null: all may
    double temperature;   // 0: the likeliest
    double top_p, min_p;
    double uniform;       // in [0, 1)
    int64_t top_k;        // 0 for all
};

// 16 logits from id i on; -inf for those that may not be drawn.
INLINE f32x16 at(const Wish& wish, int64_t vocab, int64_t i) {
    int64_t real = vocab - i < 16 ? vocab - i : 16;
    f32x16 z = get(wish.logits + i, real);
    uint32_t may = real < 16 ? (1u << real) - 1 : 0xffff;
    if (wish.mask) may &= (uint32_t)wish.mask[i / 32] >> (i % 32);
    if (may == 0xffff) return z;
    const i32x16 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return pick(-(((int32_t)may >> lanes) & 1), z, all(NEVER));
}

// What is known of a row before anything is drawn.
struct Row {
    const Wish& wish;
    int64_t vocab;
    float top = NEVER, low = std::numeric_limits<float>::infinity();  // of what is finite
    bool nan = false;
    double inverse = 0;  // of the temperature
    int64_t gone[TRIES], losses = 0;  // ids that may not be drawn any more

    Row(const Wish& w, int64_t count) : wish(w), vocab(count) {
        measure();
        if (wish.temperature > 0) inverse = std::min(1 / wish.temperature, 1e300);  // times 0 it is to be 0
    }

    void measure() {
        top = NEVER, low = std::numeric_limits<float>::infinity();
        const int CHAINS = 4;  // that need not wait for each other
        f32x16 high[CHAINS], small[CHAINS];
        i32x16 odd = {};
        for (int c = 0; c < CHAINS; c++) high[c] = all(top), small[c] = all(low);
        for (int64_t i = 0; i < vocab; i += 16 * CHAINS)
            for (int c = 0; c < CHAINS && i + 16 * c < vocab; c++) {
                f32x16 z = at(i + 16 * c);
                odd |= z != z;
                high[c] = larger(z, high[c]);
                small[c] = pick((z < small[c]) & (z > all(NEVER)), z, small[c]);
            }
        for (int j = 0; j < 16 * CHAINS; j++) {
            top = std::max(top, high[j / 16][j % 16]), low = std::min(low, small[j / 16][j % 16]);
            nan |= odd[j % 16] != 0;
        }
    }

    __attribute__((always_inline)) f32x16 at(int64_t i) const {
        f32x16 z = ::at(wish, vocab, i);
        for (int64_t g = 0; g < losses; g++)
            if (gone[g] / 16 == i / 16) z[gone[g] % 16] = NEVER;
        return z;
    }

    // The weights of 16, of which the largest of all is 1.
    __attribute__((always_inline)) void weigh(f32x16 z, f64x8* w) const {
        for (int half = 0; half < 2; half++) {
            f64x8 x = wide(z, half) - (double)top;
            w[half] = exp(x * inverse);
        }
    }

    int64_t likeliest() const {  // the first of equals
        for (int64_t i = 0; i < vocab; i += 16) {
            i32x16 is = at(i) == all(top);
            for (int64_t j = 0; j < 16; j++)
                if (is[j]) return i + j;
        }
        return 0;
    }
};

// Which of the weights it meets a place in their sum falls on; the last that is not 0, if rounding puts it behind all.
struct Search {
    double target, before = 0, sum = 0;  // `before` what was found
    int64_t found = -1;
    bool done = false;

    void meet(int64_t which, double weight) {
        if (done || !(weight > 0)) return;
        found = which;
        before = sum;
        done = (sum += weight) > target;
    }
};

// Weights in order of ids, block by block.
struct Blocks {
    const Row& row;
    std::vector<double>& sums;
    double total = 0;

    Blocks(const Row& r, std::vector<double>& s) : row(r), sums(s) { measure(); }

    void measure() {
        sums.assign((row.vocab + BLOCK - 1) / BLOCK, 0);
        total = 0;
        for (int64_t b = 0; b < (int64_t)sums.size(); b++) total += sums[b] = sum(b);
    }

    // The row has lost an id of this block.
    void measure(int64_t b) {
        sums[b] = sum(b);
        total = 0;
        for (double some : sums) total += some;
    }

    double sum(int64_t b) const {
        f64x8 w[2], sum = {};
        for (int64_t i = b * BLOCK; i < end(b); i += 16) {
            weigh(i, w);
            sum += w[0] + w[1];
        }
        return add(sum);
    }

    int64_t end(int64_t b) const { return std::min(row.vocab, (b + 1) * BLOCK); }

    __attribute__((always_inline)) void weigh(int64_t i, f64x8* w) const {  // 0 for those that min_p filters
        row.weigh(row.at(i), w);
        for (int half = 0; half < 2; half++) w[half] = keep(w[half] >= row.wish.min_p, w[half]);
    }

    // The id at a place in their sum.
    int64_t at(double target) const {
        Search block{target};
        for (int64_t b = 0; b < (int64_t)sums.size(); b++) block.meet(b, sums[b]);
        Search id{target - block.before};
        f64x8 w[2];
        for (int64_t i = block.found * BLOCK; i < end(block.found); i += 16) {
            weigh(i, w);
            for (int64_t j = 0; j < 16; j++) id.meet(i + j, w[j / 8][j % 8]);
        }
        return id.found;
    }
};
