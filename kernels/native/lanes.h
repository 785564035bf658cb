// Vectors of 16 floats, in GCC's and Clang's own vector types: no intrinsics, any processor.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace {

constexpr int LANES = 16;

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef float vec_unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(LANES * 4)));
typedef float half_vec __attribute__((vector_size(LANES * 2)));
typedef float quarter_vec __attribute__((vector_size(LANES)));

inline vec load(const float* p) { return *reinterpret_cast<const vec_unaligned*>(p); }
inline void store(float* p, vec v) { *reinterpret_cast<vec_unaligned*>(p) = v; }
inline vec splat(float s) { return s - vec{}; }

// The first `n` lanes (none where n <= 0, all where n >= LANES) and zeros; nothing behind them is touched.
inline vec load_first(const float* p, int64_t n) {
    vec v = {};
    if (n > 0) std::memcpy(&v, p, std::min<int64_t>(n, LANES) * sizeof(float));
    return v;
}
inline void store_first(float* p, vec v, int64_t n) {
    if (n > 0) std::memcpy(p, &v, std::min<int64_t>(n, LANES) * sizeof(float));
}

inline float sum(vec v) {
    half_vec lo, hi;
    std::memcpy(&lo, &v, sizeof lo);
    std::memcpy(&hi, reinterpret_cast<const char*>(&v) + sizeof lo, sizeof hi);
    const half_vec h = lo + hi;
    quarter_vec a, b;
    std::memcpy(&a, &h, sizeof a);
    std::memcpy(&b, reinterpret_cast<const char*>(&h) + sizeof a, sizeof b);
    const quarter_vec q = a + b;
    return (q[0] + q[2]) + (q[1] + q[3]);
}

// The sums over the lanes of 16 rows of 16, one a lane: halves are added crosswise, four times.
inline vec sums(const float* rows) {
#if defined(__clang__) || __GNUC__ >= 12
    vec v[LANES];
    for (int i = 0; i < LANES; ++i) v[i] = load(rows + i * LANES);
#define HALVE(N, LOW, HIGH)                                                                \
    for (int i = 0; i < N; ++i) {                                                          \
        const vec a = v[i], b = v[i + N];                                                  \
        v[i] = __builtin_shufflevector(a, b, LOW) + __builtin_shufflevector(a, b, HIGH);   \
    }
    // After the step with stride s, lane l of a row holds a part of row (l & s ? i + N : i).
#define LOW8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define HIGH8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define LOW4 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define HIGH4 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define LOW2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define HIGH2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define LOW1 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define HIGH1 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
    HALVE(8, LOW8, HIGH8)
    HALVE(4, LOW4, HIGH4)
    HALVE(2, LOW2, HIGH2)
    HALVE(1, LOW1, HIGH1)
    return v[0];
#undef HALVE
#else
    vec v;
    for (int i = 0; i < LANES; ++i) v[i] = sum(load(rows + i * LANES));
    return v;
#endif
}

// exp for arguments clamped to [-87, 88]; relative error below 2e-7 (Cody-Waite reduction, degree 6).
inline vec exponential(vec x) {
    const vec low = splat(-87.0f), high = splat(88.0f);
    x = x < low ? low : x;
    x = x > high ? high : x;
    const vec magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    const vec shifted = x * 1.44269504088896341f + magic;
    const vec k = shifted - magic;
    const vec r = (x - k * 0.693145751953125f) - k * 1.42860682030941723e-6f;
    vec p = splat(1.0f / 720);
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    ivec bits, magic_bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    std::memcpy(&magic_bits, &magic, sizeof magic_bits);
    const ivec scale_bits = (bits - magic_bits + 127) << 23;
    vec scale;
    std::memcpy(&scale, &scale_bits, sizeof scale);
    return p * scale;
}

// A step's decay: the exponential, and exactly 0 where that is no normal number any more, so that a reset (-inf) is one.
inline vec factor(vec log_decay) {
    const vec value = exponential(log_decay);
    return log_decay < splat(-87.0f) ? vec{} : value;
}

// Aligned memory of a task.
struct Buffer {
    float* data;
    explicit Buffer(int64_t floats) : data(nullptr) {
        const size_t bytes = (static_cast<size_t>(floats) * sizeof(float) + 63) / 64 * 64;
        data = static_cast<float*>(std::aligned_alloc(64, bytes ? bytes : 64));
        if (!data) std::abort();
    }
    ~Buffer() { std::free(data); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
};

// What has decayed below 1e-38 is zero while one of these lives in a thread: arithmetic on such numbers is slow.
struct FlushDenormals {
#if defined(__SSE__)
    unsigned before = _mm_getcsr();
    FlushDenormals() { _mm_setcsr(before | 0x8040); }
    ~FlushDenormals() { _mm_setcsr(before); }
#endif
};

}  // namespace
