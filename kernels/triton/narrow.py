"""Diagonal decay with one value a head (Mamba-1's channels, K = 1 cells): states in registers, time in chunks.

A product of tiles would be nearly empty here. Every chunk is scanned from zero, all at once; a short loop over chunks
makes the states at their starts out of that; and every chunk is scanned again from its own start and read. Each
exponential is taken twice, and the steps that wait for each other are those of one chunk.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_decay(log_decay, rates, place, key, own, KEY: tl.constexpr, RATED: tl.constexpr):
    """The log decay of one step, ``[channels, keys]``: a number a channel times a rate, or a number a key."""
    if RATED:
        decay = tl.load(log_decay + place, mask=own, other=0.0).to(tl.float32)[:, None] * rates
    else:
        inside = own[:, None] & (key < KEY)[None, :]
        decay = tl.load(log_decay + place[:, None] * KEY + key[None, :], mask=inside, other=0.0).to(tl.float32)
    return decay


@triton.jit
def load_rates(rate, channels, key, heads, KEY: tl.constexpr, RATED: tl.constexpr):
    """Every channel's rates, ``[channels, keys]``; a number nobody reads where there are none."""
    if RATED:
        inside = (channels < heads)[:, None] & (key < KEY)[None, :]
        rates = tl.load(rate + channels[:, None] * KEY + key[None, :], mask=inside, other=0.0).to(tl.float32)
    else:
        rates = 0.0
    return rates


@triton.jit
def scan_chunks(
    queries, keys, values, log_decay, rate, write, starts, ends, totals, outputs,
    query_batch, query_time, query_group, query_share, key_batch, key_time, key_group, key_share,
    value_batch, value_time, value_head, time, heads,
    KEY: tl.constexpr, BLOCK_KEY: tl.constexpr, CHANNELS: tl.constexpr, STEPS: tl.constexpr, RATED: tl.constexpr,
):  # fmt: skip
    """Scan one chunk: from zero, to its end state and total decay, or from `starts` (not None), to its outputs.

    ``starts``, ``ends`` and ``totals`` are ``[batch, chunks, heads, KEY]``, the outputs ``[batch, time, heads]``.
    """
    chunk, batch = tl.program_id(0), tl.program_id(1).to(tl.int64)
    channels = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    key = tl.arange(0, BLOCK_KEY)
    own = channels < heads
    inside = own[:, None] & (key < KEY)[None, :]
    rates = load_rates(rate, channels, key, heads, KEY, RATED)
    q_rows = queries + batch * query_batch + (channels // query_share)[:, None] * query_group + key[None, :]
    k_rows = keys + batch * key_batch + (channels // key_share)[:, None] * key_group + key[None, :]
    v_places = values + batch * value_batch + channels * value_head
    border = ((batch * tl.num_programs(0) + chunk) * heads + channels)[:, None] * KEY + key[None, :]

    total = tl.zeros([CHANNELS, BLOCK_KEY], tl.float32)
    state = tl.zeros([CHANNELS, BLOCK_KEY], tl.float32)
    if starts is not None:
        state += tl.load(starts + border, mask=inside, other=0.0)
    first = chunk.to(tl.int64) * STEPS
    for index in range(0, tl.minimum(time - first, STEPS)):
        step = first + index
        place = (batch * time + step) * heads + channels
        decay = load_decay(log_decay, rates, place, key, own, KEY, RATED)
        v = tl.load(v_places + step * value_time, mask=own, other=0.0).to(tl.float32)
        if write is not None:
            v *= tl.load(write + place, mask=own, other=0.0).to(tl.float32)
        k = tl.load(k_rows + step * key_time, mask=inside, other=0.0).to(tl.float32)
        state = tl.exp(decay) * state + v[:, None] * k
        if starts is not None:
            q = tl.load(q_rows + step * query_time, mask=inside, other=0.0).to(tl.float32)
            tl.store(outputs + place, tl.sum(state * q, 1).to(outputs.dtype.element_ty), mask=own)
        else:
            total += decay
    if starts is None:
        tl.store(ends + border, state, mask=inside)
        tl.store(totals + border, tl.exp(total), mask=inside)


@triton.jit
def join_chunks(ends, totals, initial, starts, final, chunks, width, BLOCK: tl.constexpr):
    """The states at chunk starts and the final one, from what every chunk does; `width` is heads times keys."""
    batch = tl.program_id(0).to(tl.int64)
    places = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = places < width
    state = tl.zeros([BLOCK], tl.float32)
    if initial is not None:
        state += tl.load(initial + batch * width + places, mask=inside, other=0.0)
    for chunk in range(0, chunks):
        here = (batch * chunks + chunk) * width + places
        tl.store(starts + here, state, mask=inside)
        total = tl.load(totals + here, mask=inside, other=0.0)
        state = total * state + tl.load(ends + here, mask=inside, other=0.0)
    tl.store(final + batch * width + places, state, mask=inside)
