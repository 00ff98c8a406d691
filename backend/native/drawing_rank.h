// The likeliest of a row, and what they weigh together, without sorting more of it than a filter or a draw ends in.
#pragma once

#include "drawing_row.h"

static const int64_t BUCKETS = 1024;
typedef double f64x2 __attribute__((vector_size(16)));

struct Entry {
    float logit;
    int32_t id;
    double weight;
};

// A row in buckets of falling logits. Those that may not be drawn are in one more, behind all.
struct Buckets {
    const Row& row;
    double sums[BUCKETS] = {}, total = 0;
    int64_t counts[BUCKETS] = {}, count = 0, kept = 0;  // `kept` by min_p
    std::vector<uint16_t>& keys;
    std::vector<Entry>& entries;  // of one bucket, sorted
    int64_t sorted = -1;          // which

    Buckets(const Row& r, std::vector<uint16_t>& k, std::vector<Entry>& e) : row(r), keys(k), entries(e) {
        keys.resize((row.vocab + 15) / 16 * 16);
        f64x2 both[2][BUCKETS + 1] = {};  // sums and counts, of even and of odd ids: neighbours need not wait
        float low = std::max((double)row.low, row.top - 745 / std::max(row.inverse, 1e-300));  // no weights below
        float scale = row.top > low ? (BUCKETS - 1) / (row.top - low) : 0;
        i64x8 many = {};
        for (int64_t i = 0; i < row.vocab; i += 16) {
            f32x16 z = row.at(i), place = (row.top - z) * scale;
            place = pick(place < all(BUCKETS - 1), place, all(BUCKETS - 1));
            place = pick(z == all(NEVER), all(BUCKETS), place);
            u16x16 key = __builtin_convertvector(place, u16x16);
            std::memcpy(&keys[i], &key, sizeof key);
            f64x8 w[2];
            row.weigh(z, w);
            for (int half = 0; half < 2; half++) many -= w[half] >= row.wish.min_p;
            double weights[16];
            std::memcpy(weights, w, sizeof w);
            for (int j = 0; j < 16; j++) both[j % 2][keys[i + j]] += f64x2{weights[j], 1};
        }
        for (int j = 0; j < 8; j++) kept += many[j];
        for (int64_t b = 0; b < BUCKETS; b++) {
            f64x2 sum = both[0][b] + both[1][b];
            total += sums[b] = sum[0];
            count += counts[b] = sum[1];
        }
    }

    const std::vector<Entry>& bucket(int64_t which) {
        if (which == sorted) return entries;
        entries.clear();
        f64x8 w[2];
        for (int64_t i = 0; i < row.vocab; i += 16) {
            u16x16 here;
            std::memcpy(&here, &keys[i], sizeof here);
            if (!any(here == (uint16_t)which)) continue;
            row.weigh(row.at(i), w);
            for (int64_t j = 0; j < 16 && i + j < row.vocab; j++)
                if (keys[i + j] == which) entries.push_back({row.wish.logits[i + j], (int32_t)(i + j), w[j / 8][j % 8]});
        }
        std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
            return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
        });
        sorted = which;
        return entries;
    }

    // What the first n weigh.
    double weight(int64_t n) {
        double sum = 0;
        for (int64_t b = 0; b < BUCKETS && n > 0; b++) {
            if (n >= counts[b]) {
                sum += sums[b];
            } else {
                auto& some = bucket(b);
                for (int64_t i = 0; i < n; i++) sum += some[i].weight;
            }
            n -= counts[b];
        }
        return sum;
    }

    // How many of the likeliest it takes to weigh at least so much.
    int64_t reach(double wanted) {
        double sum = 0;
        int64_t before = 0;
        for (int64_t b = 0; b < BUCKETS; before += counts[b], sum += sums[b], b++) {
            if (sum + sums[b] < wanted) continue;
            for (auto& entry : bucket(b)) {
                before++;
                if ((sum += entry.weight) >= wanted) break;
            }
            return before;
        }
        return count;
    }

    // The id at a place in the sum of weights of the first n.
    int64_t at(double target, int64_t n) {
        Search block{target};
        int64_t before = 0, first = 0;
        for (int64_t b = 0; b < BUCKETS && before < n && !block.done; before += counts[b], b++) {
            if (counts[b] && sums[b] > 0) first = before;
            block.meet(b, sums[b]);
        }
        Search id{block.target - block.before};
        auto& some = bucket(block.found);
        for (int64_t i = 0; i < std::min<int64_t>(some.size(), n - first); i++) id.meet(some[i].id, some[i].weight);
        return id.found;
    }
};
