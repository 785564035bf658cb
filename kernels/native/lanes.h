// Vectors of 16 floats, in GCC's and Clang's own vector types: no intrinsics, any processor.

#pragma once

#include <cstdint>
#include <cstring>

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

}  // namespace
