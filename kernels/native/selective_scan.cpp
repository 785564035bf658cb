// Fused selective scan of Mamba-1 for CPUs, forward and backward, float32.
//
//   h[t] = exp(-dt[t] * rate) * h[t-1] + dt[t] * x[t] * b[t]        h, rate, b, c: N values
//   y[t] = sum_n c[t][n] * h[t][n]                                  dt, x, y: one value a channel
//
// The N states of one channel live in registers and are the vector axis. Time is cut into chunks of
// CHUNK steps so that the rows of b and c (shared by all channels) and of x and dt (16 channels to a
// cache line) stay in the first-level cache. The forward pass keeps the state at each chunk's start;
// the backward pass recomputes the rest.

#include "lanes.h"

namespace {

constexpr int CHUNK = 32;
constexpr int TILE = 16;

struct Shape {
    int64_t batch, time, channels;
    int64_t chunks() const { return (time + CHUNK - 1) / CHUNK; }
};

template <int NV>
void forward_span(Shape s, int64_t i, int64_t from, int64_t to, const float* x, const float* dt, const float* rate,
                  const float* b, const float* c, float* y, float* state, float* starts) {
    constexpr int N = NV * LANES;
    const int64_t T = s.time, D = s.channels;
    for (int64_t tile = from; tile < to; tile += TILE) {
        const int64_t tile_end = tile + TILE < to ? tile + TILE : to;
        for (int64_t k = 0; k < s.chunks(); ++k) {
            const int64_t t0 = k * CHUNK, t1 = t0 + CHUNK < T ? t0 + CHUNK : T;
            for (int64_t d = tile; d < tile_end; ++d) {
                vec h[NV], r[NV];
                float* home = state + (i * D + d) * N;
                for (int v = 0; v < NV; ++v) h[v] = load(home + v * LANES), r[v] = load(rate + d * N + v * LANES);
                if (starts)
                    for (int v = 0; v < NV; ++v) store(starts + ((i * s.chunks() + k) * D + d) * N + v * LANES, h[v]);
                for (int64_t t = t0; t < t1; ++t) {
                    const int64_t at = (i * T + t) * D + d;
                    const float* bt = b + (i * T + t) * N;
                    const float* ct = c + (i * T + t) * N;
                    const float minus_dt = -dt[at], source = dt[at] * x[at];
                    vec total = {};
                    for (int v = 0; v < NV; ++v) {
                        h[v] = exponential(r[v] * minus_dt) * h[v] + load(bt + v * LANES) * source;
                        total += h[v] * load(ct + v * LANES);
                    }
                    y[at] = sum(total);
                }
                for (int v = 0; v < NV; ++v) store(home + v * LANES, h[v]);
            }
        }
    }
}

// grad_state enters as the gradient of the final state and leaves as that of the initial state.
// grad_rate is per sequence; grad_b and grad_c are per span of channels: the caller sums both.
template <int NV>
void backward_span(Shape s, int64_t i, int64_t from, int64_t to, const float* x, const float* dt, const float* rate,
                   const float* b, const float* c, const float* starts, const float* grad_y, float* grad_state,
                   float* grad_x, float* grad_dt, float* grad_rate, float* grad_b, float* grad_c) {
    constexpr int N = NV * LANES;
    const int64_t T = s.time, D = s.channels;
    alignas(64) float decay[CHUNK * N], decayed[CHUNK * N];
    for (int64_t tile = from; tile < to; tile += TILE) {
        const int64_t tile_end = tile + TILE < to ? tile + TILE : to;
        for (int64_t k = s.chunks() - 1; k >= 0; --k) {
            const int64_t t0 = k * CHUNK, t1 = t0 + CHUNK < T ? t0 + CHUNK : T;
            for (int64_t d = tile; d < tile_end; ++d) {
                vec h[NV], r[NV], g[NV], gr[NV];
                float* home = grad_state + (i * D + d) * N;
                float* rate_home = grad_rate + (i * D + d) * N;
                for (int v = 0; v < NV; ++v) {
                    h[v] = load(starts + ((i * s.chunks() + k) * D + d) * N + v * LANES);
                    r[v] = load(rate + d * N + v * LANES);
                }
                for (int64_t t = t0; t < t1; ++t) {
                    const int64_t at = (i * T + t) * D + d;
                    const float* bt = b + (i * T + t) * N;
                    const float minus_dt = -dt[at], source = dt[at] * x[at];
                    for (int v = 0; v < NV; ++v) {
                        const vec a = exponential(r[v] * minus_dt);
                        h[v] = a * h[v];
                        store(decay + (t - t0) * N + v * LANES, a);
                        store(decayed + (t - t0) * N + v * LANES, h[v]);
                        h[v] += load(bt + v * LANES) * source;
                    }
                }
                for (int v = 0; v < NV; ++v) g[v] = load(home + v * LANES), gr[v] = load(rate_home + v * LANES);
                for (int64_t t = t1 - 1; t >= t0; --t) {
                    const int64_t at = (i * T + t) * D + d;
                    const float* bt = b + (i * T + t) * N;
                    const float* ct = c + (i * T + t) * N;
                    float* gb = grad_b + t * N;
                    float* gc = grad_c + t * N;
                    const float step = dt[at], source = step * x[at], gy = grad_y[at];
                    vec through_source = {}, through_decay = {};
                    for (int v = 0; v < NV; ++v) {
                        const int o = v * LANES;
                        const vec kept = load(decayed + (t - t0) * N + o), bv = load(bt + o);
                        g[v] += load(ct + o) * gy;
                        store(gc + o, load(gc + o) + (kept + bv * source) * gy);
                        store(gb + o, load(gb + o) + g[v] * source);
                        through_source += g[v] * bv;
                        const vec p = g[v] * kept;
                        through_decay += p * r[v];
                        gr[v] -= p * step;
                        g[v] *= load(decay + (t - t0) * N + o);
                    }
                    const float from_source = sum(through_source);
                    grad_x[at] = step * from_source;
                    grad_dt[at] = x[at] * from_source - sum(through_decay);
                }
                for (int v = 0; v < NV; ++v) store(home + v * LANES, g[v]), store(rate_home + v * LANES, gr[v]);
            }
        }
    }
}

template <typename Work>
void over_spans(Shape s, int64_t spans, int threads, Work work) {
    const int64_t width = (s.channels + spans - 1) / spans;
#pragma omp parallel for collapse(2) num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < s.batch; ++i)
        for (int64_t j = 0; j < spans; ++j) {
            const int64_t from = j * width, to = from + width < s.channels ? from + width : s.channels;
            if (from < to) work(i, j, from, to);
        }
}

}  // namespace

#define DISPATCH(CALL)            \
    switch (vectors) {            \
        case 1: CALL(1); break;   \
        case 2: CALL(2); break;   \
        case 3: CALL(3); break;   \
        case 4: CALL(4); break;   \
        case 6: CALL(6); break;   \
        case 8: CALL(8); break;   \
        default: return 1;        \
    }                             \
    return 0;

extern "C" {

int scan_chunk() { return CHUNK; }

// All arrays contiguous: x, dt, y [B,T,D]; rate [D,N]; b, c [B,T,N]; state [B,D,N] (initial in, final out);
// starts [B,chunks,D,N] or null. N = 16 * vectors. Returns 1 for an N that was not compiled.
int scan_forward(int64_t batch, int64_t time, int64_t channels, int vectors, int64_t spans, int threads,
                 const float* x, const float* dt, const float* rate, const float* b, const float* c, float* y,
                 float* state, float* starts) {
    const Shape s{batch, time, channels};
#define CALL(NV)                                                                                   \
    over_spans(s, spans, threads, [&](int64_t i, int64_t, int64_t from, int64_t to) {              \
        forward_span<NV>(s, i, from, to, x, dt, rate, b, c, y, state, starts);                     \
    })
    DISPATCH(CALL)
#undef CALL
}

// grad_b, grad_c [B,spans,T,N] and grad_rate [B,D,N] must be zero on entry; see backward_span.
int scan_backward(int64_t batch, int64_t time, int64_t channels, int vectors, int64_t spans, int threads,
                  const float* x, const float* dt, const float* rate, const float* b, const float* c,
                  const float* starts, const float* grad_y, float* grad_state, float* grad_x, float* grad_dt,
                  float* grad_rate, float* grad_b, float* grad_c) {
    const Shape s{batch, time, channels};
    const int64_t plane = time * vectors * LANES;
#define CALL(NV)                                                                                   \
    over_spans(s, spans, threads, [&](int64_t i, int64_t j, int64_t from, int64_t to) {            \
        backward_span<NV>(s, i, from, to, x, dt, rate, b, c, starts, grad_y, grad_state, grad_x,   \
                          grad_dt, grad_rate, grad_b + (i * spans + j) * plane,                    \
                          grad_c + (i * spans + j) * plane);                                       \
    })
    DISPATCH(CALL)
#undef CALL
}

}  // extern "C"
