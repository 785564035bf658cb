// Row energies of A and their distances on a CPU, in time linear in its length, float32.
//
//   W_t = M_t W_{t-1} M_t' + s_t s_t'            sum_s A[t,s]^2         = q_t' W_t q_t        s = w k
//   D_t = M_t (D_{t-1} + W_{t-1}) M_t'           sum_s A[t,s]^2 (t - s) = q_t' D_t q_t        M = (I - e p') diag(a)
//
// W and D are symmetric, [K][K padded to whole vectors] in the cache of the core that owns the head. Without a delta
// rule only the blocks on and above the diagonal are kept up; what is above it counts twice.

#include "lanes.h"

namespace {

struct Sizes {
    int64_t batch, time, heads, key, query_heads, key_heads, probe_heads, erase_heads;
};

// log_decay [B,T,H] (decays 0), the same times rate [H,K] (1), or [B,T,H,K] (2).
enum Decays { OF_HEAD = 0, RATED = 1, OF_CHANNEL = 2 };

struct Inputs {
    const float *q, *k, *log_decay, *rate, *write, *probe, *erase;
};

inline void fetch(float* to, const float* from, float factor, int64_t K) {
    int64_t n = 0;
    for (; n + LANES <= K; n += LANES) store(to + n, load(from + n) * factor);
    if (n < K) store(to + n, load_first(from + n, K - n) * factor);
}

inline float dot(const float* x, const float* y, int64_t padded) {
    vec total = {};
    for (int64_t n = 0; n < padded; n += LANES) total += load(x + n) * load(y + n);
    return sum(total);
}

// (M W M')(n, m) = a_n a_m W - e_n u_m - (u_n - c e_n) e_m with u = X p of the decayed X and c = p' u.
struct Erased {
    Buffer found, rest;
    explicit Erased(int64_t padded) : found(padded), rest(padded) {}
    void settle(const float* p, const float* e, int64_t padded) {
        const float both = dot(found.data, p, padded);
        for (int64_t n = 0; n < padded; n += LANES)
            store(rest.data + n, load(found.data + n) - load(e + n) * both);
    }
};

template <bool FAR>
void head_task(const Sizes& s, const Inputs& in, int decays, bool erases, int64_t b, int64_t h, float* energy,
               float* distance) {
    const int64_t K = s.key, P = (K + LANES - 1) / LANES * LANES;
    Buffer near(K * P), far(FAR ? K * P : 0), q(P), source(P), probe(P), erase(P), decay(P);
    Erased of_near(erases ? P : 0), of_far(erases && FAR ? P : 0);
    std::memset(near.data, 0, K * P * sizeof(float));
    if (FAR) std::memset(far.data, 0, K * P * sizeof(float));
    std::memset(decay.data, 0, P * sizeof(float));
    auto row = [&](const float* base, int64_t groups, int64_t t) {
        return base + ((b * s.time + t) * groups + h / (s.heads / groups)) * K;
    };
    for (int64_t t = 0; t < s.time; ++t) {
        const int64_t token = (b * s.time + t) * s.heads + h;
        const float write = in.write ? in.write[token] : 1.0f;
        fetch(q.data, row(in.q, s.query_heads, t), 1.0f, K);
        fetch(source.data, row(in.k, s.key_heads, t), write, K);
        const float* given = in.log_decay + (decays == OF_CHANNEL ? token * K : token);
        for (int64_t n = 0; n < P; n += LANES) {
            vec log_decay = splat(*given);
            if (decays == OF_CHANNEL) log_decay = load_first(given + n, K - n);
            if (decays == RATED) log_decay = load_first(in.rate + h * K + n, K - n) * log_decay;
            store(decay.data + n, factor(log_decay));
        }
        vec total = {}, twice = {}, far_total = {}, far_twice = {};
        if (!erases) {
            for (int64_t n = 0; n < K; ++n) {
                const int64_t own = n / LANES * LANES;
                const float a = decay.data[n], sn = source.data[n], qn = q.data[n];
                for (int64_t m = own; m < P; m += LANES) {
                    const vec both = load(decay.data + m) * a, read = load(q.data + m) * qn;
                    const vec w = load(near.data + n * P + m);
                    const vec kept = w * both;
                    store(near.data + n * P + m, kept + load(source.data + m) * sn);
                    (m == own ? total : twice) += kept * read;
                    if (FAR) {
                        const vec then = (load(far.data + n * P + m) + w) * both;
                        store(far.data + n * P + m, then);
                        (m == own ? far_total : far_twice) += then * read;
                    }
                }
            }
        } else {
            fetch(probe.data, row(in.probe ? in.probe : in.k, in.probe ? s.probe_heads : s.key_heads, t), 1.0f, K);
            if (in.erase) fetch(erase.data, row(in.erase, s.erase_heads, t), 1.0f, K);
            const float* e = in.erase ? erase.data : source.data;
            std::memset(of_near.found.data, 0, P * sizeof(float));
            if (FAR) std::memset(of_far.found.data, 0, P * sizeof(float));
            for (int64_t n = 0; n < K; ++n) {
                const float a = decay.data[n], pn = probe.data[n];
                for (int64_t m = 0; m < P; m += LANES) {
                    const vec both = load(decay.data + m) * a, w = load(near.data + n * P + m), x = w * both;
                    store(near.data + n * P + m, x);
                    store(of_near.found.data + m, load(of_near.found.data + m) + x * pn);
                    if (FAR) {
                        const vec y = (load(far.data + n * P + m) + w) * both;
                        store(far.data + n * P + m, y);
                        store(of_far.found.data + m, load(of_far.found.data + m) + y * pn);
                    }
                }
            }
            of_near.settle(probe.data, e, P);
            if (FAR) of_far.settle(probe.data, e, P);
            for (int64_t n = 0; n < K; ++n) {
                const float en = e[n], rest = of_near.rest.data[n], sn = source.data[n], qn = q.data[n];
                const float far_rest = FAR ? of_far.rest.data[n] : 0.0f;
                for (int64_t m = 0; m < P; m += LANES) {
                    const vec em = load(e + m), read = load(q.data + m) * qn;
                    const vec kept =
                        load(near.data + n * P + m) - load(of_near.found.data + m) * en - em * rest;
                    store(near.data + n * P + m, kept + load(source.data + m) * sn);
                    total += kept * read;
                    if (FAR) {
                        const vec then =
                            load(far.data + n * P + m) - load(of_far.found.data + m) * en - em * far_rest;
                        store(far.data + n * P + m, then);
                        far_total += then * read;
                    }
                }
            }
        }
        // The step's own source is read as what it is: where q and k nearly cancel, q' (k k') q would lose its digits.
        const float own = dot(q.data, source.data, P);
        energy[token] = sum(total) + 2.0f * sum(twice) + own * own;
        if (FAR) distance[token] = sum(far_total) + 2.0f * sum(far_twice);
    }
}

}  // namespace

extern "C" {

// sizes: batch, time, heads, key, heads of q, k, probe and erase. Contiguous, sequence first; write, rate, probe and
// erase may be null. energy, distance [B,T,H]; distance may be null.
void energies(const int64_t* sizes, int decays, int erases, int threads, const float* q, const float* k,
              const float* log_decay, const float* rate, const float* write, const float* probe, const float* erase,
              float* energy, float* distance) {
    const Sizes s{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7]};
    const Inputs in{q, k, log_decay, rate, write, probe, erase};
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t task = 0; task < s.batch * s.heads; ++task) {
        const FlushDenormals flush;
        if (distance) head_task<true>(s, in, decays, erases, task / s.heads, task % s.heads, energy, distance);
        else head_task<false>(s, in, decays, erases, task / s.heads, task % s.heads, energy, distance);
    }
}

}  // extern "C"
