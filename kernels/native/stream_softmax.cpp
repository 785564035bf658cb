// Reductions of softmax patterns, ROWS queries at a time; float32.
//
// Every entry of a row is needed before any of them is known. So the scores of ROWS queries are kept, [source][query],
// until their sum is there; their memory grows with the sources, not with the matrix. Then the weights are reduced in
// tiles, from right to left, as those of the other forms are.

#include "stream.h"

#include <algorithm>
#include <vector>

namespace {

constexpr float NEVER = -__builtin_huge_valf();  // the score of what may not be looked at

// q [batch][time][heads][key], k [batch][source][groups][key]; mask (bytes) and bias [#batch][#heads][time][source],
// with a stride of 0 where the batch or the heads share one; null for what is not there.
struct Form {
    int64_t batch, time, source, heads, groups, key, mask_batch, mask_head, bias_batch, bias_head;
    float scale, softcap;  // 0 for no cap
    const float *q, *k, *bias, *sinks;
    const uint8_t* mask;
};

// tanh(x) = 1 - 2 / (exp(2 x) + 1), and its series where that would cancel.
inline vec hyperbolic_tangent(vec x) {
    const vec size = magnitude(x), square = x * x;
    const vec far = 1.0f - 2.0f / (exponential(size * 2.0f) + 1.0f);
    const vec near =
        size * (1.0f + square * (-1.0f / 3 + square * (2.0f / 15 + square * (-17.0f / 315 + square * (62.0f / 2835)))));
    const vec t = size < 0.25f ? near : far;
    return x < 0.0f ? -t : t;
}

class Patterns {
  public:
    Patterns(const Form& f, int64_t matrix)
        : f(f), i(matrix / f.heads), h(matrix % f.heads), offset(f.source - f.time), queries(f.key * ROWS) {
        keys = f.k + (i * f.source * f.groups + h / (f.heads / f.groups)) * f.key;
        stride = f.groups * f.key;
        if (f.mask) mask = f.mask + i * f.mask_batch + h * f.mask_head;
        if (f.bias) bias = f.bias + i * f.bias_batch + h * f.bias_head;
    }

    void rows(int64_t from, Reducer& reducer) {
        first = from;
        count = std::min<int64_t>(ROWS, f.time - first);
        reducer.open(first);
        range();
        if (begin < end) {
            score();
            normalise();
            for (int64_t stop = end; stop > begin; stop -= TILE) {
                const int64_t start = std::max(begin, stop - TILE);
                reducer.add(&scores[(start - begin) * ROWS], start, stop - start);
            }
        }
        reducer.close();
    }

  private:
    static constexpr int64_t TILE = 64;

    // The sources between the first and the last that any of the queries may look at.
    void range() {
        begin = 0;
        end = f.mask ? f.source : std::min(f.source, first + count + offset);
        if (!mask) return;
        int64_t low = f.source, high = 0;
        for (int64_t t = first; t < first + count; ++t) {
            const uint8_t* row = mask + t * f.source;
            const void* found = std::memchr(row, 1, size_t(low));
            if (found) low = static_cast<const uint8_t*>(found) - row;
            int64_t last = f.source;
            while (last > high && !row[last - 1]) --last;
            high = std::max(high, last);
        }
        begin = low;
        end = high;
    }

    void score() {
        const int64_t wanted = end - begin, whole = wanted / 8 * 8;
        scores.resize(size_t((wanted + 7) / 8 * 8) * ROWS);
        std::fill(queries.begin(), queries.end(), 0.0f);
        for (int64_t t = 0; t < count; ++t) {
            const float* q = f.q + ((i * f.time + first + t) * f.heads + h) * f.key;
            for (int64_t n = 0; n < f.key; ++n) queries[n * ROWS + t] = f.scale * q[n];
        }
        multiply(keys + begin * stride, stride, whole, queries.data(), f.key, scores.data());
        if (whole < wanted) {  // fewer than the 8 that are multiplied at once: a copy, with zeros behind it
            std::vector<float> rest(8 * f.key, 0.0f);
            for (int64_t s = whole; s < wanted; ++s)
                std::copy_n(keys + (begin + s) * stride, f.key, &rest[(s - whole) * f.key]);
            multiply(rest.data(), f.key, 8, queries.data(), f.key, &scores[whole * ROWS]);
        }
        for (int64_t s = 0; s < wanted; ++s) shape(begin + s, &scores[s * ROWS]);
    }

    void shape(int64_t s, float* row) const {
        if (f.softcap > 0)
            for (int v = 0; v < VECS; ++v) {
                float* place = row + v * LANES;
                store(place, hyperbolic_tangent(load(place) * (1.0f / f.softcap)) * f.softcap);
            }
        if (bias)
            for (int64_t t = 0; t < count; ++t) row[t] += bias[(first + t) * f.source + s];
        if (mask) {
            for (int64_t t = 0; t < count; ++t)
                if (!mask[(first + t) * f.source + s]) row[t] = NEVER;
        } else {
            for (int64_t t = 0; t < s - offset - first && t < count; ++t) row[t] = NEVER;
        }
    }

    void normalise() {
        const int64_t wanted = end - begin;
        for (int v = 0; v < VECS; ++v) {
            const vec sink = splat(f.sinks ? f.sinks[h] : NEVER);
            vec highest = sink, total = {};
            for (int64_t s = 0; s < wanted; ++s) {
                const vec x = load(&scores[s * ROWS + v * LANES]);
                highest = x > highest ? x : highest;
            }
            highest = highest == NEVER ? vec{} : highest;
            double sums[LANES] = {};
            for (int64_t s = 0; s < wanted; ++s) {
                float* place = &scores[s * ROWS + v * LANES];
                const vec weight = decay_exponential(load(place) - highest);
                store(place, weight);
                total += weight;
                if (s % TILE == TILE - 1 || s == wanted - 1) {
                    for (int l = 0; l < LANES; ++l) sums[l] += total[l];
                    total = vec{};
                }
            }
            const vec own = decay_exponential(sink - highest);
            vec factor;
            for (int l = 0; l < LANES; ++l) {
                const double sum = sums[l] + own[l];
                // Lanes without a row hold zeros; a row that may look nowhere stays empty.
                factor[l] = v * LANES + l < count && sum != 0 ? float(1 / sum) : 0.0f;
            }
            for (int64_t s = 0; s < wanted; ++s) {
                float* place = &scores[s * ROWS + v * LANES];
                const vec weight = load(place);
                store(place, weight == 0.0f ? vec{} : weight * factor);  // the factor of a row with a NaN is NaN
            }
        }
    }

    const Form& f;
    const int64_t i, h, offset;
    const float *keys, *bias = nullptr;
    const uint8_t* mask = nullptr;
    int64_t stride, first = 0, count = 0, begin = 0, end = 0;
    std::vector<float> queries, scores;
};

}  // namespace

extern "C" {

void stream_softmax(const Form* form, const Results* results, int64_t parts, int threads) {
    const Form& f = *form;
    const int64_t matrices = f.batch * f.heads, groups = (f.time + ROWS - 1) / ROWS;
#pragma omp parallel for collapse(2) num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t matrix = 0; matrix < matrices; ++matrix)
        for (int64_t part = 0; part < parts; ++part) {
            Patterns patterns(f, matrix);
            Reducer reducer(*results, matrix, part, parts, f.time, f.source);
            for (int64_t group = part; group < groups; group += parts) patterns.rows(group * ROWS, reducer);
        }
}

}  // extern "C"
