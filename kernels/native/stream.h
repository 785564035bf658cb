// Reductions of tiles of a matrix: sums of each row and column, and each row's largest entries.
//
// ROWS queries are the vector lanes; a tile is an array [source][query] that stays in the first-level cache. Each
// reduction is a pass of its own over it. Sums of a tile are added up in float32 and tiles in double.

#pragma once

#include "lanes.h"

#include <cmath>

namespace {

constexpr int VECS = 2;
constexpr int ROWS = VECS * LANES;
constexpr int LARGEST_TOP = 64;
constexpr int LONGEST_TILE = 128;

typedef int8_t lane_bytes __attribute__((vector_size(LANES)));

inline vec magnitude(vec v) {
    ivec bits;
    std::memcpy(&bits, &v, sizeof bits);
    bits &= 0x7fffffff;
    std::memcpy(&v, &bits, sizeof v);
    return v;
}

// exp that is exactly 0 where a float32 would not be a normal number any more.
inline vec decay_exponential(vec x) { return x < -87.0f ? vec{} : exponential(x); }

// ln(x) of a positive normal number, relative error below 1e-7: the exponent, and for the mantissa m in
// [sqrt(1/2), sqrt(2)) the series x - x^2/2 + x^3 p(x) of ln(1 + x) with p fitted by least squares in Chebyshev's nodes.
inline vec logarithm(vec x) {
    constexpr int32_t ROOT_HALF = 0x3f3504f3;
    ivec bits;
    std::memcpy(&bits, &x, sizeof bits);
    const ivec exponent = (bits - ROOT_HALF) >> 23;
    bits -= exponent << 23;
    vec m;
    std::memcpy(&m, &bits, sizeof m);
    m -= 1.0f;
    vec p = splat(-0.0749668926f);
    p = p * m + 0.127876163f;
    p = p * m - 0.132304862f;
    p = p * m + 0.142040744f;
    p = p * m - 0.166158691f;
    p = p * m + 0.200007424f;
    p = p * m - 0.250010371f;
    p = p * m + 0.333333433f;
    const vec square = m * m;
    return __builtin_convertvector(exponent, vec) * 0.693147181f + (m + square * (p * m - 0.5f));
}

// products[s][t] = sum_n sources[s][n] queries[n][t], for `count` sources, a multiple of 8.
inline void multiply(const float* sources, int64_t stride, int64_t count, const float* queries, int64_t key,
                     float* products) {
    constexpr int AT_ONCE = 8;
    for (int64_t s = 0; s < count; s += AT_ONCE) {
        vec sums[AT_ONCE][VECS] = {};
        const float* rows = sources + s * stride;
        for (int64_t n = 0; n < key; ++n) {
            vec q[VECS];
            for (int v = 0; v < VECS; ++v) q[v] = load(queries + n * ROWS + v * LANES);
            for (int i = 0; i < AT_ONCE; ++i) {
                const vec source = splat(rows[i * stride + n]);
                for (int v = 0; v < VECS; ++v) sums[i][v] += source * q[v];
            }
        }
        for (int i = 0; i < AT_ONCE; ++i)
            for (int v = 0; v < VECS; ++v) store(products + (s + i) * ROWS + v * LANES, sums[i][v]);
    }
}

// What one call is asked for; null for what it is not. One matrix is one head of one sequence; `parts` tasks share its
// rows, and have columns of their own, so that sums do not depend on who came first.
struct Results {
    float *mass, *energy, *entropy, *mass_distance, *energy_distance, *missed;  // [matrix][time]
    float* top_values;                                                         // [matrix][time][top]
    int64_t* top_sources;
    double *column_mass, *column_energy, *by_distance;  // [matrix][part][source]
    int64_t top;
};

// The rows from `first` on, and the columns of a task.
class Reducer {
  public:
    // `rows` of the ROWS exist; row t is query t + offset of as many sources.
    Reducer(const Results& results, int64_t matrix, int64_t part, int64_t parts, int64_t time, int64_t source)
        : out(results), matrix(matrix), time(time), source(source), offset(source - time),
          columns((matrix * parts + part) * source) {}

    void open(int64_t from) {
        first = from;
        rows = time - first < ROWS ? time - first : ROWS;
        std::memset(total_mass, 0, sizeof total_mass);
        std::memset(total_energy, 0, sizeof total_energy);
        std::memset(total_entropy, 0, sizeof total_entropy);
        std::memset(total_distance, 0, sizeof total_distance);
        std::memset(missed, 0, sizeof missed);
        std::memset(threshold, 0, sizeof threshold);
        if (!out.top_values) return;
        std::memset(best, 0, sizeof best);
        for (int t = 0; t < ROWS; ++t)
            for (int i = 0; i < out.top; ++i) best_source[t][i] = -1;
    }

    // Take in sources begin .. begin + count of the open rows. Lanes without a row hold zeros.
    void add(const float* tile, int64_t begin, int64_t count) {
        sums(tile, begin, count);
        if (out.entropy) entropy(tile, count);
        if (out.top_values) largest(tile, begin, count);
        if (out.column_mass || out.column_energy) by_column(tile, begin, count);
        if (out.by_distance) by_distance(tile, begin, count);
    }

    // A certified bound on the mass that was not taken in, in every row relative to what was.
    bool may_stop(const float* left, double tolerance) {
        for (int t = 0; t < rows; ++t)
            if (!(left[t] <= tolerance * total_mass[t])) return false;
        for (int t = 0; t < rows; ++t) missed[t] = left[t] > 0 ? float(left[t] / total_mass[t]) : 0.0f;
        return true;
    }

    void close() {
        const int64_t at = matrix * time + first;
        for (int t = 0; t < rows; ++t) {
            const double mass = total_mass[t], energy = total_energy[t];
            out.mass[at + t] = float(mass);
            out.missed[at + t] = missed[t];
            if (out.energy) out.energy[at + t] = float(energy);
            if (out.entropy) {
                const double nats = mass != 0 ? std::log(mass) - total_entropy[t] / mass : 0.0;
                out.entropy[at + t] = float(nats < 0 ? 0 : nats);
            }
            if (out.mass_distance) out.mass_distance[at + t] = float(mass != 0 ? total_distance[0][t] / mass : 0.0);
            if (out.energy_distance)
                out.energy_distance[at + t] = float(energy != 0 ? total_distance[1][t] / energy : 0.0);
            if (!out.top_values) continue;
            for (int i = 0; i < out.top; ++i) {
                out.top_values[(at + t) * out.top + i] = best[t][i];
                out.top_sources[(at + t) * out.top + i] = best_source[t][i];
            }
        }
    }

  private:
    void sums(const float* tile, int64_t begin, int64_t count) {
        const bool far = out.mass_distance || out.energy_distance;
        for (int v = 0; v < VECS; ++v) {
            vec mass = {}, energy = {}, mass_distance = {}, energy_distance = {}, distance;
            for (int i = 0; i < LANES; ++i) distance[i] = float(first + offset + v * LANES + i - begin);
            for (int64_t s = 0; s < count; ++s) {
                const vec a = magnitude(load(tile + s * ROWS + v * LANES)), square = a * a;
                mass += a;
                energy += square;
                if (far) {
                    mass_distance += a * distance;
                    energy_distance += square * distance;
                    distance -= 1.0f;
                }
            }
            into(total_mass, v, mass);
            into(total_energy, v, energy);
            into(total_distance[0], v, mass_distance);
            into(total_distance[1], v, energy_distance);
        }
    }

    void entropy(const float* tile, int64_t count) {
        for (int v = 0; v < VECS; ++v) {
            vec sum = {};
            for (int64_t s = 0; s < count; ++s) {
                const vec a = magnitude(load(tile + s * ROWS + v * LANES));
                const vec smallest = splat(1.17549435e-38f);
                sum += a * logarithm(a < smallest ? smallest : a);
            }
            into(total_entropy, v, sum);
        }
    }

    void largest(const float* tile, int64_t begin, int64_t count) {
        for (int64_t s = count - 1; s >= 0; --s)
            for (int v = 0; v < VECS; ++v) {
                const vec a = load(tile + s * ROWS + v * LANES);
                const ivec above = magnitude(a) > load(threshold + v * LANES);
                const lane_bytes bytes = __builtin_convertvector(above, lane_bytes);
                uint64_t halves[2];
                std::memcpy(halves, &bytes, sizeof halves);
                if (!(halves[0] | halves[1])) continue;
                for (int half = 0; half < 2; ++half)
                    for (uint64_t bits = halves[half]; bits;) {
                        const int byte = __builtin_ctzll(bits) / 8;
                        bits &= ~(uint64_t(0xff) << (8 * byte));
                        insert(v * LANES + half * 8 + byte, a[half * 8 + byte], begin + s);
                    }
            }
    }

    void insert(int t, float value, int64_t from) {
        const float size = std::fabs(value);
        int64_t at = out.top - 1;
        for (; at > 0 && std::fabs(best[t][at - 1]) < size; --at) {
            best[t][at] = best[t][at - 1];
            best_source[t][at] = best_source[t][at - 1];
        }
        best[t][at] = value;
        best_source[t][at] = int32_t(from);
        threshold[t] = std::fabs(best[t][out.top - 1]);
    }

    void by_column(const float* tile, int64_t begin, int64_t count) {
        for (int64_t s = 0; s < count; ++s) {
            vec mass = {}, energy = {};
            for (int v = 0; v < VECS; ++v) {
                const vec a = magnitude(load(tile + s * ROWS + v * LANES));
                mass += a;
                energy += a * a;
            }
            if (out.column_mass) out.column_mass[columns + begin + s] += sum(mass);
            if (out.column_energy) out.column_energy[columns + begin + s] += sum(energy);
        }
    }

    void by_distance(const float* tile, int64_t begin, int64_t count) {
        // The tile's last source is the nearest; each row is one further away than the row before.
        alignas(64) float sums[LONGEST_TILE + ROWS] = {};
        for (int64_t s = 0; s < count; ++s)
            for (int v = 0; v < VECS; ++v) {
                float* place = sums + count - 1 - s + v * LANES;
                store(place, load(place) + magnitude(load(tile + s * ROWS + v * LANES)));
            }
        const int64_t nearest = first + offset - (begin + count - 1);
        for (int64_t i = nearest < 0 ? -nearest : 0; i < count - 1 + rows; ++i)
            out.by_distance[columns + nearest + i] += sums[i];
    }

    static void into(double* totals, int v, vec sums) {
        for (int i = 0; i < LANES; ++i) totals[v * LANES + i] += sums[i];
    }

    const Results& out;
    const int64_t matrix, time, source, offset, columns;
    int64_t first = 0;
    int rows = 0;
    double total_mass[ROWS], total_energy[ROWS], total_entropy[ROWS], total_distance[2][ROWS];
    alignas(64) float threshold[ROWS];
    float missed[ROWS], best[ROWS][LARGEST_TOP];
    int32_t best_source[ROWS][LARGEST_TOP];
};

}  // namespace
