// Reductions of the matrices of decays and delta rules, walking over the sources from right to left; float32.
//
//   A[t][s] = q_t' M_t .. M_{s+1} w_s k_s        M_t = (I - e_t p_t') diag(exp(g_t))
//
// Sources come in blocks of `length` steps. A first pass carries each block's sources to its end and writes down what
// carries a query over the block. Then ROWS queries at a time are carried to the start of their own block step by step,
// reading its sources on the way, and meet every earlier block in one matrix product. Decays are summed in double over
// the steps between, so every factor is at most 1 and nothing is subtracted from anything.

#include "stream.h"

#include <vector>

namespace {

enum Kind : int { SCALAR, DIAGONAL, DELTA };

// Arrays are [batch][time][groups or heads](key); null for what is not there.
struct Form {
    int64_t batch, time, heads, key, q_groups, k_groups, p_groups, e_groups, decay_width, length, kind;
    const float *q, *k, *write, *log_decay, *rate, *probe, *erase;
    const double* reach;  // [matrix][block]: bound on the mass of a unit query at each block's end; or null
    double tolerance;
    float* carried;      // [matrix][block][length][key]: sources at the block's end
    float* transitions;  // [matrix][block]: 1, `key` or key x key (that one transposed)
    int64_t blocks() const { return (time + length - 1) / length; }
    int64_t transition_size() const { return kind == SCALAR ? 1 : kind == DIAGONAL ? key : key * key; }
};

// One head of one sequence.
struct Head {
    const Form& f;
    int64_t i, h;
    Head(const Form& f, int64_t matrix) : f(f), i(matrix / f.heads), h(matrix % f.heads) {}
    const float* row(const float* x, int64_t groups, int64_t t) const {
        return x + ((i * f.time + t) * groups + h / (f.heads / groups)) * f.key;
    }
    const float* q(int64_t t) const { return row(f.q, f.q_groups, t); }
    const float* k(int64_t t) const { return row(f.k, f.k_groups, t); }
    const float* probe(int64_t t) const { return f.probe ? row(f.probe, f.p_groups, t) : k(t); }
    float write(int64_t t) const { return f.write ? f.write[(i * f.time + t) * f.heads + h] : 1.0f; }
    // The log decay of key dimension n; its only one where there is one a head.
    float log_decay(int64_t t, int64_t n) const {
        const float g = f.log_decay[((i * f.time + t) * f.heads + h) * f.decay_width + (f.decay_width > 1 ? n : 0)];
        return f.rate ? g * f.rate[h * f.key + n] : g;
    }
};

inline float exponential_of(double x) { return x < -87.0 ? 0.0f : float(std::exp(x)); }

inline float normal_or_zero(float x) { return std::fabs(x) < 1.17549435e-38f ? 0.0f : x; }

void prepare_scalar(const Head& head, int64_t begin, float* carried, float* transition) {
    const Form& f = head.f;
    double total = 0;
    for (int64_t s = f.length - 1; s >= 0; --s) {
        const float factor = head.write(begin + s) * exponential_of(total);
        const float* k = head.k(begin + s);
        for (int64_t n = 0; n < f.key; ++n) carried[s * f.key + n] = factor * k[n];
        total += head.log_decay(begin + s, 0);
    }
    *transition = float(total);  // its logarithm: queries are never multiplied, see `Walk`
}

void prepare_diagonal(const Head& head, int64_t begin, float* carried, float* transition) {
    const Form& f = head.f;
    const int64_t padded = (f.key + LANES - 1) / LANES * LANES;
    std::vector<double> total(padded, 0.0);
    std::vector<float> factor(padded, 0.0f);
    for (int64_t s = f.length - 1; s >= 0; --s) {
        const float* k = head.k(begin + s);
        const float write = head.write(begin + s);
        for (int64_t n = 0; n < padded; ++n) factor[n] = float(total[n]);
        for (int64_t n = 0; n < padded; n += LANES) store(&factor[n], decay_exponential(load(&factor[n])));
        for (int64_t n = 0; n < f.key; ++n) carried[s * f.key + n] = factor[n] * write * k[n];
        for (int64_t n = 0; n < f.key; ++n) total[n] += head.log_decay(begin + s, n);
    }
    for (int64_t n = 0; n < f.key; ++n) transition[n] = exponential_of(total[n]);
}

// The product P of the transitions after a step carries its source to the block's end; with the step's own transition
// it is P (I - e p') D. Held transposed: a row of it is a column of P.
void prepare_delta(const Head& head, int64_t begin, float* carried, float* transition) {
    const Form& f = head.f;
    const int64_t K = f.key;
    float* P = transition;
    for (int64_t i = 0; i < K * K; ++i) P[i] = i % (K + 1) == 0 ? 1.0f : 0.0f;
    std::vector<float> erased(K);
    for (int64_t s = f.length - 1; s >= 0; --s) {
        const int64_t t = begin + s;
        const float *k = head.k(t), *p = head.probe(t), *e = f.erase ? head.row(f.erase, f.e_groups, t) : nullptr;
        const float write = head.write(t);
        float* source = carried + s * K;
        for (int64_t m = 0; m < K; ++m) source[m] = 0;
        for (int64_t n = 0; n < K; ++n) {
            const float kn = write * k[n];
            for (int64_t m = 0; m < K; ++m) source[m] += kn * P[n * K + m];
        }
        if (e) {
            for (int64_t m = 0; m < K; ++m) erased[m] = 0;
            for (int64_t n = 0; n < K; ++n)
                for (int64_t m = 0; m < K; ++m) erased[m] += e[n] * P[n * K + m];
        }
        const float* away = e ? erased.data() : source;
        float decay = exponential_of(head.log_decay(t, 0));
        for (int64_t n = 0; n < K; ++n) {
            if (f.decay_width > 1) decay = exponential_of(head.log_decay(t, n));
            for (int64_t m = 0; m < K; ++m) P[n * K + m] = (P[n * K + m] - p[n] * away[m]) * decay;
        }
    }
    for (int64_t i = 0; i < K * K; ++i) P[i] = normal_or_zero(P[i]);
}

void prepare(const Form& f, int64_t matrix, int64_t block) {
    const Head head(f, matrix);
    const int64_t at = matrix * f.blocks() + block, begin = block * f.length;
    float* carried = f.carried + at * f.length * f.key;
    float* transition = f.transitions + at * f.transition_size();
    if (f.kind == SCALAR) prepare_scalar(head, begin, carried, transition);
    if (f.kind == DIAGONAL) prepare_diagonal(head, begin, carried, transition);
    if (f.kind == DELTA) prepare_delta(head, begin, carried, transition);
}

// ROWS queries on their way to the left, [key][query]. Under scalar decay they stay as they are, and the logarithm of
// what has decayed since is kept beside them, in double.
class Walk {
  public:
    Walk(const Form& f, int64_t matrix)
        : f(f), head(f, matrix), matrix(matrix), queries(f.key * ROWS), moved(f.key * ROWS), tile(f.length * ROWS) {}

    void rows(int64_t first, Reducer& reducer) {
        std::fill(queries.begin(), queries.end(), 0.0f);
        for (double& decay : decayed) decay = 0;
        reducer.open(first);
        const int64_t block = first / f.length, begin = block * f.length;
        const int64_t end = first + ROWS < f.time ? first + ROWS : f.time;
        for (int64_t s = end - 1; s >= begin; --s) step(first, s, &tile[(s - begin) * ROWS]);
        reducer.add(tile.data(), begin, end - begin);
        for (int64_t b = block - 1; b >= 0 && anything_left(); --b) {
            if (f.reach && enough(b, reducer)) break;
            const int64_t at = matrix * f.blocks() + b;
            multiply(f.carried + at * f.length * f.key, f.key, f.length, queries.data(), f.key, tile.data());
            if (f.kind == SCALAR) decay_tile();
            reducer.add(tile.data(), b * f.length, f.length);
            carry(f.transitions + at * f.transition_size());
        }
        reducer.close();
    }

  private:
    // Read source s, and carry the queries from behind step s to before it.
    void step(int64_t first, int64_t s, float* entries) {
        const int64_t K = f.key, lane = s - first;
        if (lane >= 0) {
            const float* q = head.q(s);
            for (int64_t n = 0; n < K; ++n) queries[n * ROWS + lane] = q[n];
        }
        vec found[VECS];
        along(head.k(s), found);
        const float write = head.write(s);
        for (int v = 0; v < VECS; ++v) found[v] *= write;
        for (int v = 0; v < VECS; ++v) {
            vec a = found[v];
            if (f.kind == SCALAR) a *= factors(v);
            // By selection: what comes before its source may be NaN and must be 0.
            for (int i = 0; lane > 0 && i < LANES; ++i) a[i] = v * LANES + i < lane ? 0.0f : a[i];
            store(entries + v * LANES, a);
        }
        if (f.kind == SCALAR) {
            const double g = head.log_decay(s, 0);
            for (int64_t i = lane > 0 ? lane : 0; i < ROWS; ++i) decayed[i] += g;
            return;
        }
        if (f.kind == DELTA) {
            if (f.erase) along(head.row(f.erase, f.e_groups, s), found);
            const float* p = head.probe(s);
            for (int64_t n = 0; n < K; ++n)
                for (int v = 0; v < VECS; ++v) {
                    float* place = &queries[n * ROWS + v * LANES];
                    store(place, load(place) - found[v] * p[n]);
                }
        }
        const bool shared = f.decay_width == 1 && !f.rate;
        float factor = shared ? exponential_of(head.log_decay(s, 0)) : 0.0f;
        for (int64_t n = 0; n < K; ++n) {
            if (!shared) factor = decay_exponential(splat(head.log_decay(s, n)))[0];
            for (int v = 0; v < VECS; ++v) {
                float* place = &queries[n * ROWS + v * LANES];
                store(place, load(place) * factor);
            }
        }
    }

    void along(const float* direction, vec* found) const {
        vec sums[4][VECS] = {};  // apart, so that no addition waits for the one before it
        for (int64_t n = 0; n < f.key; ++n)
            for (int v = 0; v < VECS; ++v) sums[n % 4][v] += load(&queries[n * ROWS + v * LANES]) * direction[n];
        for (int v = 0; v < VECS; ++v) found[v] = (sums[0][v] + sums[1][v]) + (sums[2][v] + sums[3][v]);
    }

    vec factors(int v) const {
        vec logs;
        for (int i = 0; i < LANES; ++i) logs[i] = float(decayed[v * LANES + i]);
        return decay_exponential(logs);
    }

    void decay_tile() {
        const vec factor[VECS] = {factors(0), factors(1)};
        for (int64_t s = 0; s < f.length; ++s)
            for (int v = 0; v < VECS; ++v) {
                float* place = &tile[s * ROWS + v * LANES];
                store(place, load(place) * factor[v]);
            }
    }

    void carry(const float* transition) {
        if (f.kind == SCALAR) {
            for (double& decay : decayed) decay += *transition;
        } else if (f.kind == DIAGONAL) {
            for (int64_t n = 0; n < f.key; ++n)
                for (int64_t t = 0; t < ROWS; ++t)
                    queries[n * ROWS + t] = normal_or_zero(queries[n * ROWS + t] * transition[n]);
        } else {
            multiply_any(transition);
            for (float& x : moved) x = normal_or_zero(x);
            queries.swap(moved);
        }
    }

    void multiply_any(const float* transition) {
        const int64_t K = f.key, whole = K / 8 * 8;
        multiply(transition, K, whole, queries.data(), K, moved.data());
        for (int64_t m = whole; m < K; ++m) {
            vec found[VECS];
            along(transition + m * K, found);
            for (int v = 0; v < VECS; ++v) store(&moved[m * ROWS + v * LANES], found[v]);
        }
    }

    bool anything_left() const {
        if (f.kind == SCALAR) {
            for (double decay : decayed)
                if (!(decay < -87.0)) return true;
            return false;
        }
        ivec any = {};
        for (int64_t at = 0; at < f.key * ROWS; at += LANES) any |= load(&queries[at]) != 0.0f;
        for (int i = 0; i < LANES; ++i)
            if (any[i]) return true;
        return false;
    }

    bool enough(int64_t block, Reducer& reducer) const {
        alignas(64) float left[ROWS];
        for (int v = 0; v < VECS; ++v) {
            vec squares = {};
            for (int64_t n = 0; n < f.key; ++n) {
                const vec x = load(&queries[n * ROWS + v * LANES]);
                squares += x * x;
            }
            if (f.kind == SCALAR) squares *= factors(v) * factors(v);
            store(left + v * LANES, squares);
        }
        const double reach = f.reach[matrix * f.blocks() + block];
        for (float& x : left) x = float(std::sqrt(x) * reach);
        return reducer.may_stop(left, f.tolerance);
    }

    const Form& f;
    const Head head;
    const int64_t matrix;
    std::vector<float> queries, moved, tile;
    double decayed[ROWS];
};

}  // namespace

extern "C" {

// Tasks are fixed by `parts`, not by the number of threads: results do not depend on it.
void stream_recurrent(const Form* form, const Results* results, int64_t parts, int threads) {
    const Form& f = *form;
    const int64_t matrices = f.batch * f.heads, groups = (f.time + ROWS - 1) / ROWS, sources = f.blocks() - 1;
#pragma omp parallel for collapse(2) num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t matrix = 0; matrix < matrices; ++matrix)
        for (int64_t block = 0; block < sources; ++block) prepare(f, matrix, block);
#pragma omp parallel for collapse(2) num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t matrix = 0; matrix < matrices; ++matrix)
        for (int64_t part = 0; part < parts; ++part) {
            Walk walk(f, matrix);
            Reducer reducer(*results, matrix, part, parts, f.time, f.time);
            for (int64_t group = part; group < groups; group += parts) walk.rows(group * ROWS, reducer);
        }
}

}  // extern "C"
