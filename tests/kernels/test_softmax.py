"""Softmax attention against a computation written with Python numbers, one entry at a time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.kernels import random_forms
from tests.kernels.random_forms import relative_error
from workbench import kernels
from workbench.kernels import Softmax


def entry_by_entry(form: Softmax) -> torch.Tensor:
    batch, time, heads, width = form.q.shape
    source, groups = form.k.shape[1:3]
    result = torch.zeros(batch, heads, time, source, dtype=torch.float64)
    for b in range(batch):
        for h in range(heads):
            group = h // (heads // groups)
            for t in range(time):
                logits = {}
                for s in range(source):
                    if form.mask is None:
                        allowed = s <= t + source - time
                    else:
                        allowed = bool(form.mask.expand(batch, heads, time, source)[b, h, t, s])
                    if not allowed:
                        continue
                    logit = form.scale * sum(
                        float(form.q[b, t, h, n]) * float(form.k[b, s, group, n]) for n in range(width)
                    )
                    if form.softcap is not None:
                        logit = form.softcap * math.tanh(logit / form.softcap)
                    if form.bias is not None:
                        logit += float(form.bias.expand(batch, heads, time, source)[b, h, t, s])
                    logits[s] = logit
                total = sum(math.exp(logit) for logit in logits.values())
                if form.sinks is not None:
                    total += math.exp(float(form.sinks[h]))
                for s, logit in logits.items():
                    result[b, h, t, s] = math.exp(logit) / total
    return result


def variants() -> dict[str, Softmax]:
    torch.manual_seed(0)
    plain = random_forms.softmax(7)
    everything = random_forms.softmax_with_everything(7)
    return {
        "causal, grouped": plain,
        "one group": replace(plain, k=plain.k[:, :, :1], v=plain.v[:, :, :1]),
        "mask": replace(plain, mask=everything.mask),
        "bias": replace(plain, bias=everything.bias),
        "mask and bias": replace(plain, mask=everything.mask, bias=everything.bias),
        "soft cap": replace(plain, softcap=0.8),
        "sinks": replace(plain, sinks=everything.sinks),
        "everything": everything,
        "queries after a cache": random_forms.softmax(3, source=8),
        "everything after a cache": random_forms.softmax_with_everything(3, source=8),
    }


@pytest.mark.parametrize("backend", ["reference", "chunked"])
@pytest.mark.parametrize("variant", variants())
def test_pattern_and_outputs_follow_the_definition(variant: str, backend: kernels.Backend) -> None:
    form = variants()[variant]
    expected = entry_by_entry(form)
    if form.sinks is None and form.mask is not None:
        # A row that may look nowhere has no softmax: it is defined as zero, so that padding adds nothing.
        assert (expected.sum(-1) == 0).any()
    assert relative_error(kernels.pattern(form, backend=backend), expected) < 1e-12
    heads_of_group = form.heads // form.v.shape[2]
    values = form.v.repeat_interleave(heads_of_group, dim=2)
    outputs = torch.einsum("bhts,bshv->bthv", expected, values)
    assert relative_error(kernels.forward(form, backend=backend)[0], outputs) < 1e-12


@pytest.mark.parametrize("backend", ["reference", "chunked"])
def test_a_bias_of_minus_infinity_is_a_mask(backend: kernels.Backend) -> None:
    form = variants()["mask"]
    assert form.mask is not None
    bias = torch.zeros(form.mask.shape).double().masked_fill(~form.mask, -torch.inf)
    q = form.q.clone().requires_grad_()
    biased = replace(form, q=q, mask=torch.ones_like(form.mask), bias=bias)
    assert relative_error(kernels.forward(biased, backend=backend)[0], kernels.forward(form)[0]) < 1e-12
    got = kernels.pattern(biased, backend=backend)
    assert relative_error(got, kernels.pattern(form)) < 1e-12
    assert torch.isfinite(torch.autograd.grad(got.square().sum(), q)[0]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("variant", ["mask", "mask and bias", "everything"])
def test_a_padded_query_gives_zero_and_no_nan_to_any_gradient(variant: str, dtype: torch.dtype) -> None:
    # torch picks another fused kernel in each precision.
    form = variants()[variant]
    assert form.mask is not None
    leaves = {name: getattr(form, name).to(dtype).requires_grad_() for name in ("q", "k", "v")}
    padded = replace(form, **leaves, bias=None if form.bias is None else form.bias.to(dtype))
    outputs = kernels.forward(padded)[0]
    closed = ~form.mask.any(-1).expand(2, 6, 7).transpose(1, 2)
    assert closed.any()
    assert (outputs[closed] == 0).all()
    for gradient in torch.autograd.grad(outputs.float().square().sum(), list(leaves.values())):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("backend", ["reference", "chunked"])
def test_scores_far_beyond_exp_neither_overflow_nor_vanish(backend: kernels.Backend) -> None:
    form = random_forms.softmax(20, torch.float32)
    loud = replace(form, scale=1e4)
    sums = kernels.row_sum(loud, backend=backend)
    assert relative_error(sums, torch.ones_like(sums)) < 1e-6
    assert torch.isfinite(kernels.forward(loud, backend=backend)[0]).all()


def test_a_bfloat16_pattern_is_computed_in_float32() -> None:
    form = random_forms.softmax_with_everything(30, torch.bfloat16)
    doubled = replace(
        form,
        **{name: getattr(form, name).double() for name in ("q", "k", "v", "bias", "sinks")},
    )
    got = kernels.pattern(form)
    assert got.dtype == torch.float32
    assert relative_error(got, kernels.pattern(doubled)) < 1e-6
    assert kernels.forward(form)[0].dtype == torch.bfloat16
