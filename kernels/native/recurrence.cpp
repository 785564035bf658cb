// The recurrence of scalar decay, diagonal decay and delta rules on a CPU, forward and backward, float32.
//
//   X   = diag(a_t) S                                   a = exp(log decay): one number a head, or one a key channel
//   u_t = X' p_t                                        what a delta rule finds; 0 for the decays
//   S   = X + k_t x_t' + e_t y_t'                       x = w v, y = -u, or where a step erases what it writes
//   o_t = S' q_t                                        (e = w k) x = w (v - u) and no y
//
// The columns of the state never meet, so a task is some columns of one head: a block of NV vectors, [K][NV * 16] floats
// that stay in the first-level cache for the whole sequence. Every step reads and writes the block once; what it needs
// besides are five vectors of K numbers and one of V. Nothing is approximated by chunks, so states can be had anywhere.
//
// The backward pass runs a stretch of STRETCH steps again from the state before it, which the forward pass kept.

#include <vector>

#include "lanes.h"

namespace {

constexpr int STRETCH = 16;

enum Erase { NOTHING = 0, WRITTEN = 1, OTHER = 2 };

struct Sizes {
    int64_t batch, time, heads, key, value;
    int64_t query_heads, key_heads, probe_heads, erase_heads;
};

// One head's operands; every pointer is at its first step, `*_stride` floats to the next one.
struct Head {
    const float *q, *k, *v, *log_decay, *write, *probe, *erase;
    int64_t q_stride, k_stride, v_stride, decay_stride, write_stride, probe_stride, erase_stride;
};

struct Inputs {
    const float *q, *k, *v, *log_decay, *write, *probe, *erase;
};

inline Head head_of(const Sizes& s, const Inputs& in, int64_t b, int64_t h, bool channels) {
    const int64_t K = s.key, decays = channels ? K : 1;
    Head head;
    auto grouped = [&](const float* base, int64_t groups) {
        return base ? base + (b * s.time * groups + h / (s.heads / groups)) * K : nullptr;
    };
    head.q = grouped(in.q, s.query_heads), head.q_stride = s.query_heads * K;
    head.k = grouped(in.k, s.key_heads), head.k_stride = s.key_heads * K;
    head.probe = grouped(in.probe, s.probe_heads), head.probe_stride = s.probe_heads * K;
    head.erase = grouped(in.erase, s.erase_heads), head.erase_stride = s.erase_heads * K;
    head.v = in.v + (b * s.time * s.heads + h) * s.value, head.v_stride = s.heads * s.value;
    head.log_decay = in.log_decay + (b * s.time * s.heads + h) * decays, head.decay_stride = s.heads * decays;
    head.write = in.write ? in.write + b * s.time * s.heads + h : nullptr, head.write_stride = s.heads;
    return head;
}

// What one step multiplies by, for all its columns. `decay` and `probe_decayed` are arrays only for a decay a channel.
struct Step {
    const float *q, *k, *p, *e;
    float write, decay_of_head;
};

inline Step step_of(const Head& head, int64_t t, int64_t K, bool channels, float* decay) {
    Step step;
    step.q = head.q + t * head.q_stride;
    step.k = head.k + t * head.k_stride;
    step.p = head.probe ? head.probe + t * head.probe_stride : step.k;
    step.e = head.erase ? head.erase + t * head.erase_stride : nullptr;
    step.write = head.write ? head.write[t * head.write_stride] : 1.0f;
    const float* log_decay = head.log_decay + t * head.decay_stride;
    step.decay_of_head = 0.0f;
    if (channels) {
        int64_t n = 0;
        for (; n + LANES <= K; n += LANES) store(decay + n, factor(load(log_decay + n)));
        if (n < K) store_first(decay + n, factor(load_first(log_decay + n, K - n)), K - n);
    } else {
        step.decay_of_head = factor(splat(*log_decay))[0];
    }
    return step;
}

template <int NV>
struct Columns {
    vec at[NV];
};

template <int NV>
inline Columns<NV> load_columns(const float* p, int64_t width) {
    Columns<NV> c;
    if (width == NV * LANES) {
        for (int j = 0; j < NV; ++j) c.at[j] = load(p + j * LANES);
    } else {
        for (int j = 0; j < NV; ++j) c.at[j] = load_first(p + j * LANES, width - j * LANES);
    }
    return c;
}

template <int NV>
inline void store_columns(float* p, const Columns<NV>& c, int64_t width) {
    if (width == NV * LANES) {
        for (int j = 0; j < NV; ++j) store(p + j * LANES, c.at[j]);
    } else {
        for (int j = 0; j < NV; ++j) store_first(p + j * LANES, c.at[j], width - j * LANES);
    }
}

// u = X' p for the block, two rows at a time so that the additions do not wait for each other.
template <int NV, bool CHANNELS>
inline Columns<NV> found(const float* state, const Step& step, const float* decay, int64_t K) {
    constexpr int W = NV * LANES;
    vec even[NV] = {}, odd[NV] = {};
    int64_t n = 0;
    for (; n + 2 <= K; n += 2) {
        const float p0 = CHANNELS ? step.p[n] * decay[n] : step.p[n];
        const float p1 = CHANNELS ? step.p[n + 1] * decay[n + 1] : step.p[n + 1];
        for (int j = 0; j < NV; ++j) {
            even[j] += load(state + n * W + j * LANES) * p0;
            odd[j] += load(state + (n + 1) * W + j * LANES) * p1;
        }
    }
    if (n < K)
        for (int j = 0; j < NV; ++j)
            even[j] += load(state + n * W + j * LANES) * (CHANNELS ? step.p[n] * decay[n] : step.p[n]);
    Columns<NV> u;
    for (int j = 0; j < NV; ++j) {
        u.at[j] = even[j] + odd[j];
        if (!CHANNELS) u.at[j] *= step.decay_of_head;
    }
    return u;
}

// S = X + k x' + e y', and what the query reads there.
template <int NV, bool CHANNELS, int ERASE, bool READ>
inline Columns<NV> advance(float* state, const Step& step, const float* decay, const Columns<NV>& x,
                           const Columns<NV>& y, int64_t K) {
    constexpr int W = NV * LANES;
    vec even[NV] = {}, odd[NV] = {};
    auto row = [&](int64_t n, vec* total) {
        const float a = CHANNELS ? decay[n] : step.decay_of_head, kn = step.k[n], qn = READ ? step.q[n] : 0.0f;
        for (int j = 0; j < NV; ++j) {
            vec s = load(state + n * W + j * LANES) * a + x.at[j] * kn;
            if (ERASE == OTHER) s += y.at[j] * step.e[n];
            store(state + n * W + j * LANES, s);
            if (READ) total[j] += s * qn;
        }
    };
    int64_t n = 0;
    for (; n + 2 <= K; n += 2) row(n, even), row(n + 1, odd);
    if (n < K) row(n, even);
    Columns<NV> o;
    for (int j = 0; j < NV; ++j) o.at[j] = even[j] + odd[j];
    return o;
}

// What is written at a step, and what is taken away along `e`.
template <int NV, bool CHANNELS, int ERASE>
inline void written(const float* state, const Step& step, const float* decay, const Columns<NV>& v, int64_t K,
                    Columns<NV>& x, Columns<NV>& y) {
    if (ERASE == NOTHING) {
        for (int j = 0; j < NV; ++j) x.at[j] = v.at[j] * step.write;
        return;
    }
    const Columns<NV> u = found<NV, CHANNELS>(state, step, decay, K);
    for (int j = 0; j < NV; ++j) {
        x.at[j] = (ERASE == WRITTEN ? v.at[j] - u.at[j] : v.at[j]) * step.write;
        y.at[j] = -u.at[j];
    }
}

template <int NV>
void copy_in(const Sizes& s, const float* from, float* state, int64_t width) {
    for (int64_t n = 0; n < s.key; ++n) {
        const Columns<NV> c = load_columns<NV>(from + n * s.value, width);
        store_columns<NV>(state + n * NV * LANES, c, NV * LANES);
    }
}

template <int NV>
void copy_out(const Sizes& s, const float* state, float* to, int64_t width) {
    for (int64_t n = 0; n < s.key; ++n) {
        const Columns<NV> c = load_columns<NV>(state + n * NV * LANES, NV * LANES);
        store_columns<NV>(to + n * s.value, c, width);
    }
}

template <int NV, bool CHANNELS, int ERASE>
void forward_task(const Sizes& s, const Inputs& in, int64_t b, int64_t h, int64_t column, float* state_home,
                  const int64_t* marks, int64_t n_marks, float* kept, float* out) {
    const int64_t K = s.key, width = std::min<int64_t>(NV * LANES, s.value - column);
    Buffer state(K * NV * LANES), decay(K);
    float* home = state_home + (b * s.heads + h) * K * s.value + column;
    copy_in<NV>(s, home, state.data, width);
    const Head head = head_of(s, in, b, h, CHANNELS);
    int64_t mark = 0;
    auto keep = [&](int64_t t) {
        for (; mark < n_marks && marks[mark] == t; ++mark)
            copy_out<NV>(s, state.data, kept + ((b * n_marks + mark) * s.heads + h) * K * s.value + column, width);
    };
    for (int64_t t = 0; t < s.time; ++t) {
        keep(t);
        const Step step = step_of(head, t, K, CHANNELS, decay.data);
        const Columns<NV> v = load_columns<NV>(head.v + t * head.v_stride + column, width);
        Columns<NV> x, y;
        written<NV, CHANNELS, ERASE>(state.data, step, decay.data, v, K, x, y);
        const Columns<NV> o = advance<NV, CHANNELS, ERASE, true>(state.data, step, decay.data, x, y, K);
        store_columns<NV>(out + ((b * s.time + t) * s.heads + h) * s.value + column, o, width);
    }
    keep(s.time);
    copy_out<NV>(s, state.data, home, width);
}

struct Gradients {
    float *q, *k, *v, *log_decay, *write, *probe, *erase;  // a head each, whatever the groups; zero on entry
};

// Adds the sum over lanes of K rows to `to`.
inline void add_sums(const float* rows, float* to, int64_t K) {
    int64_t n = 0;
    for (; n + LANES <= K; n += LANES) store(to + n, load(to + n) + sums(rows + n * LANES));
    for (; n < K; ++n) to[n] += sum(load(rows + n * LANES));
}

template <int NV, bool CHANNELS, int ERASE>
void backward_task(const Sizes& s, const Inputs& in, int64_t b, int64_t h, int64_t column, const float* kept,
                   int64_t n_kept, const float* grad_out, float* grad_state, const Gradients& g) {
    constexpr int W = NV * LANES;
    const int64_t K = s.key, width = std::min<int64_t>(W, s.value - column);
    const Head head = head_of(s, in, b, h, CHANNELS);
    Buffer before(STRETCH * K * W), finds(STRETCH * W), grad(K * W), decay(K);
    Buffer of_q(K * LANES), of_k(K * LANES), of_p(K * LANES), of_e(K * LANES), of_decay(K * LANES);
    float* home = grad_state + (b * s.heads + h) * K * s.value + column;
    copy_in<NV>(s, home, grad.data, width);
    for (int64_t stretch = n_kept - 1; stretch >= 0; --stretch) {
        const int64_t t0 = stretch * STRETCH, t1 = std::min<int64_t>(t0 + STRETCH, s.time);
        copy_in<NV>(s, kept + ((b * n_kept + stretch) * s.heads + h) * K * s.value + column, before.data, width);
        for (int64_t t = t0; t < t1; ++t) {
            float* now = before.data + (t - t0) * K * W;
            const Step step = step_of(head, t, K, CHANNELS, decay.data);
            const Columns<NV> v = load_columns<NV>(head.v + t * head.v_stride + column, width);
            Columns<NV> x, y = {};
            written<NV, CHANNELS, ERASE>(now, step, decay.data, v, K, x, y);
            if (ERASE != NOTHING) store_columns<NV>(finds.data + (t - t0) * W, y, W);
            if (t + 1 == t1) break;
            std::memcpy(now + K * W, now, K * W * sizeof(float));
            advance<NV, CHANNELS, ERASE, false>(now + K * W, step, decay.data, x, y, K);
        }
        for (int64_t t = t1 - 1; t >= t0; --t) {
            const float* now = before.data + (t - t0) * K * W;
            const Step step = step_of(head, t, K, CHANNELS, decay.data);
            const int64_t token = (b * s.time + t) * s.heads + h;
            const Columns<NV> v = load_columns<NV>(head.v + t * head.v_stride + column, width);
            const Columns<NV> go = load_columns<NV>(grad_out + token * s.value + column, width);
            Columns<NV> y = {}, x;
            if (ERASE != NOTHING) y = load_columns<NV>(finds.data + (t - t0) * W, W);
            for (int j = 0; j < NV; ++j) x.at[j] = (ERASE == WRITTEN ? v.at[j] + y.at[j] : v.at[j]) * step.write;
            vec grad_x[NV] = {}, grad_y[NV] = {}, grad_decay = {};
            for (int64_t n = 0; n < K; ++n) {
                const float a = CHANNELS ? decay.data[n] : step.decay_of_head, kn = step.k[n], qn = step.q[n];
                const float en = ERASE == OTHER ? step.e[n] : 0.0f;
                vec total_q = {}, total_k = {}, total_e = {}, total_decay = {};
                for (int j = 0; j < NV; ++j) {
                    const vec decayed = load(now + n * W + j * LANES) * a;
                    vec after = decayed + x.at[j] * kn;
                    if (ERASE == OTHER) after += y.at[j] * en;
                    vec gs = load(grad.data + n * W + j * LANES) + go.at[j] * qn;
                    total_q += after * go.at[j];
                    total_k += gs * x.at[j];
                    grad_x[j] += gs * kn;
                    if (ERASE == OTHER) total_e += gs * y.at[j], grad_y[j] += gs * en;
                    if (ERASE == NOTHING) total_decay += gs * decayed, gs *= a;
                    store(grad.data + n * W + j * LANES, gs);
                }
                store(of_q.data + n * LANES, total_q);
                store(of_k.data + n * LANES, total_k);
                if (ERASE == OTHER) store(of_e.data + n * LANES, total_e);
                if (ERASE == NOTHING) {
                    if (CHANNELS) store(of_decay.data + n * LANES, total_decay);
                    else grad_decay += total_decay;
                }
            }
            Columns<NV> gv, gu;
            vec total_write = {};
            for (int j = 0; j < NV; ++j) {
                gv.at[j] = grad_x[j] * step.write;
                gu.at[j] = ERASE == OTHER ? -grad_y[j] : -gv.at[j];
                total_write += grad_x[j] * (ERASE == WRITTEN ? v.at[j] + y.at[j] : v.at[j]);
            }
            store_columns<NV>(g.v + token * s.value + column, gv, width);
            if (g.write) g.write[token] += sum(total_write);
            if (ERASE != NOTHING) {
                for (int64_t n = 0; n < K; ++n) {
                    const float a = CHANNELS ? decay.data[n] : step.decay_of_head, pn = step.p[n];
                    vec total_p = {}, total_decay = {};
                    for (int j = 0; j < NV; ++j) {
                        const vec decayed = load(now + n * W + j * LANES) * a;
                        const vec gs = load(grad.data + n * W + j * LANES) + gu.at[j] * pn;
                        total_p += decayed * gu.at[j];
                        total_decay += gs * decayed;
                        store(grad.data + n * W + j * LANES, gs * a);
                    }
                    store(of_p.data + n * LANES, total_p);
                    if (CHANNELS) store(of_decay.data + n * LANES, total_decay);
                    else grad_decay += total_decay;
                }
                add_sums(of_p.data, (g.probe ? g.probe : g.k) + token * K, K);
            }
            add_sums(of_q.data, g.q + token * K, K);
            add_sums(of_k.data, g.k + token * K, K);
            if (ERASE == OTHER) add_sums(of_e.data, g.erase + token * K, K);
            if (CHANNELS) add_sums(of_decay.data, g.log_decay + token * K, K);
            else g.log_decay[token] += sum(grad_decay);
        }
    }
    copy_out<NV>(s, grad.data, home, width);
}

// A block of columns and the state's rows should fill half of the first-level cache and leave every thread some blocks.
int vectors_for(const Sizes& s, int threads) {
    int vectors = 4;
    while (vectors > 1 && (s.key * vectors * LANES > 4096 || s.value <= (vectors / 2) * LANES ||
                           s.batch * s.heads * ((s.value + vectors * LANES - 1) / (vectors * LANES)) < threads))
        vectors /= 2;
    return vectors;
}

template <int NV, typename Work>
void over_blocks(const Sizes& s, int threads, Work work) {
    const int64_t blocks = (s.value + NV * LANES - 1) / (NV * LANES), tasks = s.batch * s.heads * blocks;
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t task = 0; task < tasks; ++task) {
        const FlushDenormals flush;
        work(task / blocks / s.heads, task / blocks % s.heads, task % blocks * NV * LANES);
    }
}

template <int NV, typename Work>
void over_heads(const Sizes& s, int threads, Work work) {
    const int64_t tasks = s.batch * s.heads;
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t task = 0; task < tasks; ++task) {
        const FlushDenormals flush;
        for (int64_t column = 0; column < s.value; column += NV * LANES) work(task / s.heads, task % s.heads, column);
    }
}

template <typename Call>
void with_layout(int vectors, bool channels, int erase, Call call) {
    auto with_erase = [&](auto nv, auto ch) {
        if (erase == NOTHING) call(nv, ch, std::integral_constant<int, NOTHING>{});
        else if (erase == WRITTEN) call(nv, ch, std::integral_constant<int, WRITTEN>{});
        else call(nv, ch, std::integral_constant<int, OTHER>{});
    };
    auto with_channels = [&](auto nv) {
        if (channels) with_erase(nv, std::true_type{});
        else with_erase(nv, std::false_type{});
    };
    if (vectors == 4) with_channels(std::integral_constant<int, 4>{});
    else if (vectors == 2) with_channels(std::integral_constant<int, 2>{});
    else with_channels(std::integral_constant<int, 1>{});
}

}  // namespace

extern "C" {

int recurrence_stretch() { return STRETCH; }

// sizes: batch, time, heads, key, value, heads of q, k, probe and erase. All arrays contiguous, sequence first;
// log_decay [B,T,H] or, with `channels`, [B,T,H,K]; write, probe and erase may be null (probe null: k).
// state [B,H,K,V]: initial in, final out. kept [B,marks,H,K,V]: the state before step marks[i] (ascending, T included).
void recurrence_forward(const int64_t* sizes, int channels, int erase, int threads, const float* q, const float* k,
                        const float* v, const float* log_decay, const float* write, const float* probe,
                        const float* erasers, float* state, const int64_t* marks, int64_t n_marks, float* kept,
                        float* out) {
    const Sizes s{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], sizes[8]};
    const Inputs in{q, k, v, log_decay, write, probe, erasers};
    with_layout(vectors_for(s, threads), channels, erase, [&](auto nv, auto ch, auto er) {
        over_blocks<nv.value>(s, threads, [&](int64_t b, int64_t h, int64_t column) {
            forward_task<nv.value, ch.value, er.value>(s, in, b, h, column, state, marks, n_marks, kept, out);
        });
    });
}

// kept [B,stretches,H,K,V]: states before steps 0, STRETCH, 2 STRETCH, ... grad_state: of the final state in, of the
// initial state out. grad_q, grad_k, grad_probe, grad_erase [B,T,H,K] whatever the groups; they, grad_log_decay and
// grad_write are zero on entry. Without a probe its gradient is k's.
void recurrence_backward(const int64_t* sizes, int channels, int erase, int threads, const float* q, const float* k,
                         const float* v, const float* log_decay, const float* write, const float* probe,
                         const float* erasers, const float* kept, const float* grad_out, float* grad_state,
                         float* grad_q, float* grad_k, float* grad_v, float* grad_log_decay, float* grad_write,
                         float* grad_probe, float* grad_erase) {
    const Sizes s{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], sizes[8]};
    const Inputs in{q, k, v, log_decay, write, probe, erasers};
    const Gradients g{grad_q, grad_k, grad_v, grad_log_decay, grad_write, grad_probe, grad_erase};
    const int64_t stretches = (s.time + STRETCH - 1) / STRETCH;
    with_layout(s.value <= LANES ? 1 : 2, channels, erase, [&](auto nv, auto ch, auto er) {
        over_heads<nv.value>(s, threads, [&](int64_t b, int64_t h, int64_t column) {
            backward_task<nv.value, ch.value, er.value>(s, in, b, h, column, kept, stretches, grad_out, grad_state, g);
        });
    });
}

}  // extern "C"
