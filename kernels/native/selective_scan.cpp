// Fused selective scan of Mamba-1 for CPUs, forward and backward, float32.
//
//   h[t][n] = exp(step[t] rate[n]) h[t-1][n] + x[t] write[t] b[t][n]        N states a channel
//   y[t]    = sum_n c[t][n] h[t][n]                                         step, x, write, y: one value a channel
//
// The vector axis is 16 neighbouring channels, a block: they share b and c, their sums over n need no sums over lanes,
// and N may be any number. Some of a block's states stay in registers for CHUNK steps. The forward pass keeps the state
// at each chunk's start; the backward pass recomputes the rest. Sequences and spans of blocks are independent: threads
// share them, and as the spans are the same whatever their number, so are all results.

#include <vector>

#include "lanes.h"

namespace {

constexpr int CHUNK = 32;
constexpr int64_t FORWARD_SPAN = 4;    // blocks
constexpr int64_t BACKWARD_SPAN = 16;  // more of them: b's and c's gradients are held once a span

constexpr float LOG2_E = 1.44269504088896341f, LN_2 = 0.693147180559945309f;
constexpr float ROUNDER = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, which the low bits then hold
constexpr float HIGHEST = 126.0f;

// A NaN with other bits set would not survive the integer addition in `power`.
inline vec plain_nan(vec x) { return x == x ? x : splat(__builtin_nanf("")); }

// 2^(x y) for a product of at most HIGHEST, and exactly 0 below -HIGHEST; relative error below 2e-7. The product is
// never rounded, which is what makes this shorter and more accurate than an exponential of it.
inline vec power(vec x, vec y) {
    const vec shifted = x * y + ROUNDER;
    const vec r = x * y - (shifted - ROUNDER);
    // Degree 5, the smallest relative error on [-1/2, 1/2] (9e-8) among those that are exactly 1 at r = 0: a decay close
    // to 1 stays close to 1 over many steps.
    vec p = splat(0.0013264727f);
    p = p * r + 0.009671513f;
    p = p * r + 0.055507336f;
    p = p * r + 0.24022242f;
    p = p * r + 0.693147f;
    p = p * r + 1.0f;
    ivec bits, exponent;
    std::memcpy(&bits, &p, sizeof bits);
    std::memcpy(&exponent, &shifted, sizeof exponent);
    bits += exponent << 23;
    std::memcpy(&p, &bits, sizeof p);
    return shifted < ROUNDER - HIGHEST ? vec{} : p;
}

// One row of values a step; the values of a row are contiguous. `write` may have no rows: it is 1 then.
struct Rows {
    const float* data;
    int64_t batch, time;
    const float* at(int64_t i, int64_t t) const { return data ? data + i * batch + t * time : nullptr; }
};

struct Scan {
    int64_t batch, time, channels, states;
    Rows x, step, write, b, c;
    const float* rate;     // [D,N]
    const float* initial;  // [B,D,N], or null for zero
    int64_t blocks() const { return (channels + LANES - 1) / LANES; }
    int64_t chunks() const { return (time + CHUNK - 1) / CHUNK; }
    int lanes(int64_t block) const { return static_cast<int>(std::min<int64_t>(LANES, channels - block * LANES)); }
};

// [lanes][N] in memory <-> [N][16] for the loops; lanes that no channel has are zero.
inline void to_lanes(const float* from, int64_t states, int lanes, float* to) {
    for (int64_t n = 0; n < states; ++n)
        for (int l = 0; l < LANES; ++l) to[n * LANES + l] = l < lanes ? from[l * states + n] : 0.0f;
}
inline void from_lanes(const float* from, int64_t states, int lanes, float* to) {
    for (int l = 0; l < lanes; ++l)
        for (int64_t n = 0; n < states; ++n) to[l * states + n] = from[n * LANES + l];
}

// A block's rates in powers of two, and the steps between which no product exceeds HIGHEST. Log decays are at most 0;
// the limits keep other input from becoming garbage, and -inf from meeting a 0.
struct Rates {
    const float* data;  // [N][16]
    vec low, high;
    Rates(const Scan& s, int64_t block, float* room) : data(room), low(splat(-1e-36f)), high(splat(1e-36f)) {
        to_lanes(s.rate + block * LANES * s.states, s.states, s.lanes(block), room);
        for (int64_t n = 0; n < s.states; ++n) {
            const vec r = plain_nan((*this)[n] * LOG2_E);
            store(room + n * LANES, r);
            low = r < low ? r : low;
            high = r > high ? r : high;
        }
        low = HIGHEST / low;
        high = HIGHEST / high;
    }
    vec operator[](int64_t n) const { return load(data + n * LANES); }
    vec within(vec step) const {
        step = step < low ? low : step;
        return plain_nan(step > high ? high : step);
    }
};

// A block's rows of some steps: where they lie, or, where fewer than 16 channels are left, a copy with zeros.
struct Window {
    const float* data;
    int64_t time;
    Window(const Rows& rows, int64_t i, int64_t t, int64_t steps, int64_t block, int lanes, float* room)
        : data(rows.at(i, t)), time(rows.time) {
        if (data) data += block * LANES;
        if (!data || lanes == LANES) return;
        for (int64_t j = 0; j < steps; ++j) store(room + j * LANES, load_first(data + j * time, lanes));
        data = room;
        time = LANES;
    }
    vec operator[](int64_t t) const { return load(data + t * time); }
};

struct Block {
    Window step, x, write;
    Block(const Scan& s, int64_t i, int64_t t, int64_t steps, int64_t block, float* room)
        : step(s.step, i, t, steps, block, s.lanes(block), room),
          x(s.x, i, t, steps, block, s.lanes(block), room + CHUNK * LANES),
          write(s.write, i, t, steps, block, s.lanes(block), room + 2 * CHUNK * LANES) {}
    vec source(int64_t t) const { return write.data ? x[t] * write[t] : x[t]; }
    // The rows of the next block lie one cache line further.
    void prefetch(int64_t t) const {
        __builtin_prefetch(step.data + t * step.time + LANES);
        __builtin_prefetch(x.data + t * x.time + LANES);
        if (write.data) __builtin_prefetch(write.data + t * write.time + LANES);
    }
};

// `steps` steps of `COUNT` of a block's states, which leave as they are after them; y is added to where n0 > 0.
template <int COUNT>
void advance(const Block& block, const Rates& rates, int64_t from, int64_t to, int64_t n0, const float* b,
             int64_t b_time, const float* c, int64_t c_time, float* state, float* y, int64_t y_time) {
    vec h[COUNT];
    for (int n = 0; n < COUNT; ++n) h[n] = load(state + (n0 + n) * LANES);
    for (int64_t t = from; t < to; ++t) {
        const vec step = rates.within(block.step[t]), source = block.source(t);
        const float *bt = b + t * b_time + n0, *ct = c + t * c_time + n0;
        vec total = n0 ? load(y + t * y_time) : vec{};
        block.prefetch(t);
        for (int n = 0; n < COUNT; ++n) {
            h[n] = power(step, rates[n0 + n]) * h[n] + splat(bt[n]) * source;
            total += splat(ct[n]) * h[n];
        }
        store(y + t * y_time, total);
    }
    for (int n = 0; n < COUNT; ++n) store(state + (n0 + n) * LANES, h[n]);
}

// Calls `work` with a number of states that was compiled, and the first of them, until there are none left.
template <typename Work>
inline void over_states(int64_t states, Work work) {
    int64_t n = 0;
    for (; n + 16 <= states; n += 16) work(std::integral_constant<int, 16>(), n);
    for (; n + 4 <= states; n += 4) work(std::integral_constant<int, 4>(), n);
    for (; n < states; ++n) work(std::integral_constant<int, 1>(), n);
}

// keep: steps in ascending order, whose states go to kept [B,count,D,N].
struct Kept {
    int64_t count;
    const int64_t* steps;
    float* states;
};

void forward_span(const Scan& s, int64_t i, int64_t from, int64_t to, float* y, float* final, float* starts, Kept kept) {
    const int64_t N = s.states, D = s.channels, T = s.time, size = N * LANES;
    Buffer states((to - from) * size), rate((to - from) * size), room(4 * CHUNK * LANES);
    std::vector<Rates> rates;
    for (int64_t block = from; block < to; ++block) {
        float* state = states.data + (block - from) * size;
        const int64_t home = (i * D + block * LANES) * N;
        rates.emplace_back(s, block, rate.data + (block - from) * size);
        if (s.initial) to_lanes(s.initial + home, N, s.lanes(block), state);
        else std::fill(state, state + size, 0.0f);
    }
    int64_t passed = 0;
    for (int64_t k = 0; k < s.chunks(); ++k) {
        const int64_t t0 = k * CHUNK, steps = std::min<int64_t>(CHUNK, T - t0);
        const float *b = s.b.at(i, t0), *c = s.c.at(i, t0);
        int64_t next = passed;
        for (int64_t block = from; block < to; ++block) {
            const int lanes = s.lanes(block);
            const Block rows(s, i, t0, steps, block, room.data);
            float* state = states.data + (block - from) * size;
            if (starts) std::copy(state, state + size, starts + ((i * s.chunks() + k) * s.blocks() + block) * size);
            float* out = lanes == LANES ? y + (i * T + t0) * D + block * LANES : room.data + 3 * CHUNK * LANES;
            const int64_t out_time = lanes == LANES ? D : LANES;
            next = passed;
            for (int64_t t = 0; t < steps;) {
                const bool stop = next < kept.count && kept.steps[next] < t0 + steps;
                const int64_t end = stop ? kept.steps[next] - t0 + 1 : steps;
                over_states(N, [&](auto count, int64_t n) {
                    advance<decltype(count)::value>(rows, rates[block - from], t, end, n, b, s.b.time, c, s.c.time, state,
                                                    out, out_time);
                });
                if (stop) {
                    from_lanes(state, N, lanes, kept.states + ((i * kept.count + next) * D + block * LANES) * N);
                    ++next;
                }
                t = end;
            }
            if (lanes != LANES)
                for (int64_t t = 0; t < steps; ++t)
                    store_first(y + (i * T + t0 + t) * D + block * LANES, load(out + t * LANES), lanes);
        }
        passed = next;
    }
    for (int64_t block = from; block < to; ++block)
        from_lanes(states.data + (block - from) * size, N, s.lanes(block), final + (i * D + block * LANES) * N);
}

struct Gradients {
    const float* y;  // of the outputs, [B,T,D]
    float* state;    // [B,D,N]: of the final state on entry, of the initial one at the end
    float *x, *step, *write;  // [B,T,D]; write's may be null
    float* rate;     // [B,D,N]: a sequence each
    float *b, *c;    // [B,spans,T,N]: a span of channels each
};

// What a chunk's backward pass holds of a block: decays and decayed states, and sums over the states that are left.
struct Workspace {
    Buffer decay, decayed, by_source, by_step, grad_b, grad_c;
    Workspace(int64_t states)
        : decay(CHUNK * 8 * LANES), decayed(CHUNK * 8 * LANES), by_source(CHUNK * LANES), by_step(CHUNK * LANES),
          grad_b(CHUNK * states * LANES), grad_c(CHUNK * states * LANES) {}
};

template <int COUNT>
void retreat(const Block& block, const Rates& rates, int64_t steps, int64_t n0, int64_t states, const float* b,
             int64_t b_time, const float* c, int64_t c_time, const float* start, const float* grad_y, float* grad_state,
             float* grad_rate, Workspace& w) {
    vec h[COUNT], g[COUNT], r[COUNT];
    for (int n = 0; n < COUNT; ++n) {
        h[n] = load(start + (n0 + n) * LANES);
        r[n] = rates[n0 + n];
    }
    for (int64_t t = 0; t < steps; ++t) {
        const vec step = rates.within(block.step[t]), source = block.source(t);
        for (int n = 0; n < COUNT; ++n) {
            const int64_t o = (t * COUNT + n) * LANES;
            const vec a = power(step, r[n]);
            h[n] = a * h[n];
            store(w.decay.data + o, a);
            store(w.decayed.data + o, h[n]);
            h[n] += splat(b[t * b_time + n0 + n]) * source;
        }
    }
    vec gr[COUNT];
    for (int n = 0; n < COUNT; ++n) {
        g[n] = load(grad_state + (n0 + n) * LANES);
        gr[n] = load(grad_rate + (n0 + n) * LANES);
    }
    for (int64_t t = steps - 1; t >= 0; --t) {
        const vec step = rates.within(block.step[t]), source = block.source(t), gy = load(grad_y + t * LANES);
        float *gb = w.grad_b.data + (t * states + n0) * LANES, *gc = w.grad_c.data + (t * states + n0) * LANES;
        vec by_source = load(w.by_source.data + t * LANES), by_step = load(w.by_step.data + t * LANES);
        for (int n = 0; n < COUNT; ++n) {
            const int64_t o = (t * COUNT + n) * LANES;
            const vec kept = load(w.decayed.data + o), bn = splat(b[t * b_time + n0 + n]);
            g[n] += splat(c[t * c_time + n0 + n]) * gy;
            store(gc + n * LANES, load(gc + n * LANES) + (kept + bn * source) * gy);
            store(gb + n * LANES, load(gb + n * LANES) + g[n] * source);
            by_source += g[n] * bn;
            const vec p = g[n] * kept;
            by_step += p * r[n];
            gr[n] += p * step;
            g[n] *= load(w.decay.data + o);
        }
        store(w.by_source.data + t * LANES, by_source);
        store(w.by_step.data + t * LANES, by_step);
    }
    for (int n = 0; n < COUNT; ++n) {
        store(grad_state + (n0 + n) * LANES, g[n]);
        store(grad_rate + (n0 + n) * LANES, gr[n]);
    }
}

void backward_span(const Scan& s, int64_t i, int64_t span, int64_t from, int64_t to, const float* starts, Gradients d) {
    const int64_t N = s.states, D = s.channels, T = s.time, size = N * LANES;
    const int64_t spans = (s.blocks() + BACKWARD_SPAN - 1) / BACKWARD_SPAN;
    Buffer grad_states((to - from) * size), grad_rates((to - from) * size), rate((to - from) * size);
    Buffer room(4 * CHUNK * LANES);
    std::vector<Rates> rates;
    Workspace w(N);
    std::fill(grad_rates.data, grad_rates.data + (to - from) * size, 0.0f);
    for (int64_t block = from; block < to; ++block) {
        const int64_t o = (block - from) * size;
        rates.emplace_back(s, block, rate.data + o);
        to_lanes(d.state + (i * D + block * LANES) * N, N, s.lanes(block), grad_states.data + o);
    }
    for (int64_t k = s.chunks() - 1; k >= 0; --k) {
        const int64_t t0 = k * CHUNK, steps = std::min<int64_t>(CHUNK, T - t0);
        const float *b = s.b.at(i, t0), *c = s.c.at(i, t0);
        std::fill(w.grad_b.data, w.grad_b.data + steps * size, 0.0f);
        std::fill(w.grad_c.data, w.grad_c.data + steps * size, 0.0f);
        for (int64_t block = from; block < to; ++block) {
            const int lanes = s.lanes(block);
            const Block rows(s, i, t0, steps, block, room.data);
            float* gy = room.data + 3 * CHUNK * LANES;
            const int64_t home = (i * T + t0) * D + block * LANES;
            for (int64_t t = 0; t < steps; ++t) store(gy + t * LANES, load_first(d.y + home + t * D, lanes));
            std::fill(w.by_source.data, w.by_source.data + steps * LANES, 0.0f);
            std::fill(w.by_step.data, w.by_step.data + steps * LANES, 0.0f);
            const auto work = [&](auto count, int64_t n) {
                retreat<decltype(count)::value>(
                    rows, rates[block - from], steps, n, N, b, s.b.time, c, s.c.time,
                    starts + ((i * s.chunks() + k) * s.blocks() + block) * size, gy,
                    grad_states.data + (block - from) * size, grad_rates.data + (block - from) * size, w);
            };
            int64_t n = 0;
            for (; n + 8 <= N; n += 8) work(std::integral_constant<int, 8>(), n);
            for (; n < N; ++n) work(std::integral_constant<int, 1>(), n);
            for (int64_t t = 0; t < steps; ++t) {
                const vec by_source = load(w.by_source.data + t * LANES);
                const int64_t o = home + t * D;
                store_first(d.x + o, rows.write.data ? by_source * rows.write[t] : by_source, lanes);
                if (d.write) store_first(d.write + o, by_source * rows.x[t], lanes);
                store_first(d.step + o, load(w.by_step.data + t * LANES) * LN_2, lanes);
            }
        }
        const int64_t shared = ((i * spans + span) * T + t0) * N;
        for (int64_t o = 0; o < steps * N; ++o) {
            d.b[shared + o] = sum(load(w.grad_b.data + o * LANES));
            d.c[shared + o] = sum(load(w.grad_c.data + o * LANES));
        }
    }
    for (int64_t block = from; block < to; ++block) {
        const int64_t home = (i * D + block * LANES) * N, o = (block - from) * size;
        from_lanes(grad_states.data + o, N, s.lanes(block), d.state + home);
        from_lanes(grad_rates.data + o, N, s.lanes(block), d.rate + home);
    }
}

// Calls `work` with every sequence, number of a span, its first block and the one behind its last.
template <typename Work>
void over_spans(const Scan& s, int64_t width, int threads, Work work) {
    const int64_t spans = (s.blocks() + width - 1) / width;
#pragma omp parallel for collapse(2) num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < s.batch; ++i)
        for (int64_t j = 0; j < spans; ++j) {
            const FlushDenormals flush;
            work(i, j, j * width, std::min((j + 1) * width, s.blocks()));
        }
}

}  // namespace

// shape: batch, time, channels, states, then the strides (batch, time) of x, step, write, b and c, in floats.
#define SCAN                                                                                                       \
    {                                                                                                              \
        shape[0], shape[1], shape[2], shape[3], {x, shape[4], shape[5]}, {step, shape[6], shape[7]},               \
            {write, shape[8], shape[9]}, {b, shape[10], shape[11]}, {c, shape[12], shape[13]}, rate, initial       \
    }

extern "C" {

// The floats of `starts`, and the spans of b's and c's gradients.
int64_t scan_starts(int64_t time, int64_t channels, int64_t states) {
    return (time + CHUNK - 1) / CHUNK * ((channels + LANES - 1) / LANES) * states * LANES;
}
int64_t scan_spans(int64_t channels) {
    return ((channels + LANES - 1) / LANES + BACKWARD_SPAN - 1) / BACKWARD_SPAN;
}

// x, step, write, b, c with the strides in `shape`; write may be null. rate [D,N]; initial [B,D,N] or null; y [B,T,D];
// final [B,D,N]; starts [B, scan_starts] or null; keep: ascending steps, their states to kept [B,keeps,D,N].
void scan_forward(const int64_t* shape, int threads, const float* x, const float* step, const float* write,
                  const float* b, const float* c, const float* rate, const float* initial, float* y, float* final,
                  float* starts, int64_t keeps, const int64_t* keep, float* kept) {
    const Scan s SCAN;
    over_spans(s, FORWARD_SPAN, threads, [&](int64_t i, int64_t, int64_t from, int64_t to) {
        forward_span(s, i, from, to, y, final, starts, {keeps, keep, kept});
    });
}

// See Gradients.
void scan_backward(const int64_t* shape, int threads, const float* x, const float* step, const float* write,
                   const float* b, const float* c, const float* rate, const float* starts, const float* grad_y,
                   float* grad_state, float* grad_x, float* grad_step, float* grad_write, float* grad_rate,
                   float* grad_b, float* grad_c) {
    const float* initial = nullptr;
    const Scan s SCAN;
    over_spans(s, BACKWARD_SPAN, threads, [&](int64_t i, int64_t j, int64_t from, int64_t to) {
        backward_span(s, i, j, from, to, starts,
                      {grad_y, grad_state, grad_x, grad_step, grad_write, grad_rate, grad_b, grad_c});
    });
}

}  // extern "C"
