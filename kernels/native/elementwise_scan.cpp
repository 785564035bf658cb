// The scan of cells that hold one number, for CPUs, forward and backward, float32.
//
//   h[t] = a[t] h[t-1] + b[t]        a, b, h [batch, time, channels], contiguous
//
// a is given as it is or as its natural logarithm. The vector axis is the channels. A span of them goes through time
// row by row, its state in the first-level cache: what is read from memory is read in stretches. Sequences and spans
// are independent: threads share them, and no result depends on how.

#include "lanes.h"

namespace {

constexpr int64_t SPAN = 256;

struct Shape {
    int64_t batch, time, channels;
};

// Calls `full(o)` at every 16 of `count` channels and `part(o, lanes)` at what is left.
template <typename Full, typename Part>
inline void over_lanes(int64_t count, Full full, Part part) {
    int64_t o = 0;
    for (; o + LANES <= count; o += LANES) full(o);
    if (o < count) part(o, static_cast<int>(count - o));
}

// `state` is the initial state, or null for zero.
void forward_span(Shape s, int64_t count, bool logarithms, const float* decay, const float* update, const float* state,
                  float* states) {
    alignas(64) float h[SPAN] = {};
    if (state) std::copy(state, state + count, h);
    for (int64_t t = 0; t < s.time; ++t, decay += s.channels, update += s.channels, states += s.channels) {
        const auto next = [&](int64_t o, vec a, vec b) {
            const vec value = (logarithms ? factor(a) : a) * load(h + o) + b;
            store(h + o, value);
            return value;
        };
        over_lanes(
            count, [&](int64_t o) { store(states + o, next(o, load(decay + o), load(update + o))); },
            [&](int64_t o, int n) {
                store_first(states + o, next(o, load_first(decay + o, n), load_first(update + o, n)), n);
            });
    }
}

// The derivative of a logarithm is that of the factor times the factor. Any of the gradients may be null.
void backward_span(Shape s, int64_t count, bool logarithms, const float* decay, const float* state,
                   const float* states, const float* grad_states, float* grad_decay, float* grad_update,
                   float* grad_state) {
    alignas(64) float carried[SPAN] = {};
    const float zeros[SPAN] = {};
    for (int64_t t = s.time - 1; t >= 0; --t) {
        const int64_t row = t * s.channels;
        const float* before = t ? states + row - s.channels : state ? state : zeros;
        const auto step = [&](int64_t o, int n, auto read, auto write) {
            const vec given = read(decay + row + o, n), a = logarithms ? factor(given) : given;
            const vec g = load(carried + o) + read(grad_states + row + o, n);
            if (grad_update) write(grad_update + row + o, g, n);
            if (grad_decay) {
                const vec by_factor = g * read(before + o, n);
                write(grad_decay + row + o, logarithms ? by_factor * a : by_factor, n);
            }
            store(carried + o, g * a);
        };
        over_lanes(
            count,
            [&](int64_t o) {
                step(o, LANES, [](const float* p, int) { return load(p); }, [](float* p, vec v, int) { store(p, v); });
            },
            [&](int64_t o, int n) { step(o, n, load_first, store_first); });
    }
    if (grad_state) std::copy(carried, carried + count, grad_state);
}

// Calls `work` with each sequence, and first channel and width of each span.
template <typename Work>
void over_spans(Shape s, int threads, Work work) {
    const int64_t spans = (s.channels + SPAN - 1) / SPAN;
#pragma omp parallel for collapse(2) num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < s.batch; ++i)
        for (int64_t j = 0; j < spans; ++j) {
            const int64_t from = j * SPAN, left = s.channels - from;
            const FlushDenormals flush;
            work(i, from, left < SPAN ? left : SPAN);
        }
}

}  // namespace

extern "C" {

// state [batch, channels] may be null.
void elementwise_forward(int64_t batch, int64_t time, int64_t channels, int threads, int logarithms, const float* decay,
                         const float* update, const float* state, float* states) {
    const Shape s{batch, time, channels};
    over_spans(s, threads, [&](int64_t i, int64_t d, int64_t count) {
        const int64_t o = i * time * channels + d;
        forward_span(s, count, logarithms, decay + o, update + o, state ? state + i * channels + d : nullptr,
                     states + o);
    });
}

// state and each of the last three may be null.
void elementwise_backward(int64_t batch, int64_t time, int64_t channels, int threads, int logarithms,
                          const float* decay, const float* state, const float* states, const float* grad_states,
                          float* grad_decay, float* grad_update, float* grad_state) {
    const Shape s{batch, time, channels};
    const auto at = [](auto* p, int64_t offset) { return p ? p + offset : nullptr; };
    over_spans(s, threads, [&](int64_t i, int64_t d, int64_t count) {
        const int64_t o = i * time * channels + d, home = i * channels + d;
        backward_span(s, count, logarithms, decay + o, at(state, home), states + o, grad_states + o,
                      at(grad_decay, o), at(grad_update, o), at(grad_state, home));
    });
}

}  // extern "C"
