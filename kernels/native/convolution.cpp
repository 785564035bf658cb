// Causal depthwise convolution for CPUs, forward and backward, float32, with the activation in the same pass.
//
//   c[t] = bias + sum_j weight[j] x[t - (taps - 1) + j]        y[t] = c[t], or silu(c[t]) = c[t] sigmoid(c[t])
//
// The vector axis is the channels, which lie next to each other: nothing is transposed or padded. x[-1], x[-2], ... are
// the last rows of `past`, and zero before those. Sequences and spans of channels are independent: threads share them,
// and no result depends on how.

#include <vector>

#include "lanes.h"

namespace {

constexpr int64_t SPAN = 256;

struct Convolution {
    int64_t batch, time, channels, taps, kept;  // kept: rows of the past
    int64_t x_batch, x_time;                    // strides
    bool silu;
    const float *x, *past, *weight, *bias;  // past [B,kept,D]; weight [D,taps]; bias [D] or null
    const float* zeros;                     // a row of them

    const float* row(int64_t i, int64_t t, int64_t d) const {
        if (t >= 0) return x + i * x_batch + t * x_time + d;
        return t >= -kept ? past + (i * kept + kept + t) * channels + d : zeros;
    }
};

// A span's taps with channels as lanes, the first lag (the current token) first, and its bias.
struct Taps {
    Buffer room;
    const float* bias;
    Taps(const Convolution& s, int64_t d, int64_t count) : room((s.taps + 1) * SPAN), bias(room.data + s.taps * SPAN) {
        std::fill(room.data, room.data + (s.taps + 1) * SPAN, 0.0f);
        for (int64_t lag = 0; lag < s.taps; ++lag)
            for (int64_t o = 0; o < count; ++o)
                room.data[lag * SPAN + o] = s.weight[(d + o) * s.taps + s.taps - 1 - lag];
        if (s.bias) std::copy(s.bias + d, s.bias + d + count, room.data + s.taps * SPAN);
    }
    vec at(int64_t lag, int64_t o) const { return load(room.data + lag * SPAN + o); }
};

inline vec sigmoid(vec c) { return 1.0f / (1.0f + exponential(-c)); }

// Calls `full(o)` at every 16 of `count` channels and `part(o, lanes)` at what is left.
template <typename Full, typename Part>
inline void over_lanes(int64_t count, Full full, Part part) {
    int64_t o = 0;
    for (; o + LANES <= count; o += LANES) full(o);
    if (o < count) part(o, static_cast<int>(count - o));
}

// TAPS is the number of taps, or 0 for one that was not compiled.
template <int TAPS, typename Read>
inline vec convolved(const Taps& taps, const float* const* rows, int64_t many, int64_t o, Read read) {
    vec c = load(taps.bias + o);
    if constexpr (TAPS > 0) {
        for (int lag = 0; lag < TAPS; ++lag) c += taps.at(lag, o) * read(rows[lag] + o);
    } else {
        for (int64_t lag = 0; lag < many; ++lag) c += taps.at(lag, o) * read(rows[lag] + o);
    }
    return c;
}

template <int TAPS>
void forward_span(const Convolution& s, int64_t i, int64_t d, int64_t count, float* y) {
    const Taps taps(s, d, count);
    std::vector<const float*> rows(s.taps);
    for (int64_t t = 0; t < s.time; ++t) {
        for (int64_t lag = 0; lag < s.taps; ++lag) rows[lag] = s.row(i, t - lag, d);
        float* out = y + (i * s.time + t) * s.channels + d;
        over_lanes(
            count,
            [&](int64_t o) {
                const vec c = convolved<TAPS>(taps, rows.data(), s.taps, o, load);
                store(out + o, s.silu ? c * sigmoid(c) : c);
            },
            [&](int64_t o, int n) {
                const auto read = [n](const float* p) { return load_first(p, n); };
                const vec c = convolved<TAPS>(taps, rows.data(), s.taps, o, read);
                store_first(out + o, s.silu ? c * sigmoid(c) : c, n);
            });
    }
}

struct Gradients {
    const float* y;                // [B,T,D]
    float *x, *past, *taps, *bias; // x [B,T,D]; past [B,kept,D]; taps [B,taps,D], the first lag first; bias [B,D]
};

// Backwards in time. `later` holds the gradients of c of the last `taps` steps, step t in row t % taps.
void backward_span(const Convolution& s, int64_t i, int64_t d, int64_t count, Gradients g) {
    const Taps taps(s, d, count);
    std::vector<const float*> rows(s.taps);
    Buffer later(s.taps * SPAN), sums((s.taps + 1) * SPAN);
    std::fill(later.data, later.data + s.taps * SPAN, 0.0f);
    std::fill(sums.data, sums.data + (s.taps + 1) * SPAN, 0.0f);
    const auto ring = [&](int64_t t) { return later.data + ((t % s.taps + s.taps) % s.taps) * SPAN; };
    const auto through = [&](int64_t t, int64_t o) {
        vec total = {};
        for (int64_t lag = 0; lag < s.taps; ++lag) total += taps.at(lag, o) * load(ring(t + lag) + o);
        return total;
    };
    for (int64_t t = s.time - 1; t >= 0; --t) {
        for (int64_t lag = 0; lag < s.taps; ++lag) rows[lag] = s.row(i, t - lag, d);
        const int64_t home = (i * s.time + t) * s.channels + d;
        const auto step = [&](int64_t o, auto read, auto write) {
            vec own = read(g.y + home + o);
            if (s.silu) {
                const vec c = convolved<0>(taps, rows.data(), s.taps, o, read), slope = sigmoid(c);
                own *= slope * (1.0f + c * (1.0f - slope));
            }
            store(ring(t) + o, own);
            for (int64_t lag = 0; lag < s.taps; ++lag) {
                float* sum = sums.data + lag * SPAN + o;
                store(sum, load(sum) + own * read(rows[lag] + o));
            }
            float* sum = sums.data + s.taps * SPAN + o;
            store(sum, load(sum) + own);
            write(g.x + home + o, through(t, o));
        };
        over_lanes(
            count, [&](int64_t o) { step(o, load, store); },
            [&](int64_t o, int n) {
                step(o, [n](const float* p) { return load_first(p, n); },
                     [n](float* p, vec v) { store_first(p, v, n); });
            });
    }
    // Steps before the first have no gradient of their own: their rows in the ring are cleared as the past goes by.
    for (int64_t t = -1; t >= -s.kept; --t) {
        std::fill(ring(t), ring(t) + SPAN, 0.0f);
        float* out = g.past + (i * s.kept + s.kept + t) * s.channels + d;
        over_lanes(
            count, [&](int64_t o) { store(out + o, through(t, o)); },
            [&](int64_t o, int n) { store_first(out + o, through(t, o), n); });
    }
    for (int64_t lag = 0; lag < s.taps; ++lag)
        std::copy(sums.data + lag * SPAN, sums.data + lag * SPAN + count,
                  g.taps + (i * s.taps + lag) * s.channels + d);
    std::copy(sums.data + s.taps * SPAN, sums.data + s.taps * SPAN + count, g.bias + i * s.channels + d);
}

// Calls `work` with each sequence, and first channel and width of each span.
template <typename Work>
void over_spans(const Convolution& s, int threads, Work work) {
    const int64_t spans = (s.channels + SPAN - 1) / SPAN;
#pragma omp parallel for collapse(2) num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < s.batch; ++i)
        for (int64_t j = 0; j < spans; ++j) {
            const FlushDenormals flush;
            work(i, j * SPAN, std::min(SPAN, s.channels - j * SPAN));
        }
}

}  // namespace

// shape: batch, time, channels, taps, rows of the past, strides of x over batch and time.
#define CONVOLUTION                                                                                           \
    const Buffer zeros(SPAN);                                                                                 \
    std::fill(zeros.data, zeros.data + SPAN, 0.0f);                                                           \
    const Convolution s{shape[0], shape[1], shape[2],  shape[3], shape[4], shape[5],  shape[6], silu != 0,    \
                        x,        past,     weight,    bias,     zeros.data};

extern "C" {

void convolution_forward(const int64_t* shape, int threads, int silu, const float* x, const float* past,
                         const float* weight, const float* bias, float* y) {
    CONVOLUTION
    over_spans(s, threads, [&](int64_t i, int64_t d, int64_t count) {
        s.taps == 4 ? forward_span<4>(s, i, d, count, y) : forward_span<0>(s, i, d, count, y);
    });
}

void convolution_backward(const int64_t* shape, int threads, int silu, const float* x, const float* past,
                          const float* weight, const float* bias, const float* grad_y, float* grad_x, float* grad_past,
                          float* grad_taps, float* grad_bias) {
    CONVOLUTION
    over_spans(s, threads, [&](int64_t i, int64_t d, int64_t count) {
        backward_span(s, i, d, count, {grad_y, grad_x, grad_past, grad_taps, grad_bias});
    });
}

}  // extern "C"
