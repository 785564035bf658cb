"""Reductions of matrices that are never held, against the dense ones in float64: every form, both scopes, any mixer."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.kernels import random_forms
from tests.kernels.random_forms import ALL, RECURRENT, relative_error
from workbench.attention import ImplicitAttention, reductions, unrolled
from workbench.errors import InputError
from workbench.forms import MixerForm, Softmax, Toeplitz
from workbench.kernels.streaming.result import REDUCTIONS

TIME = 21
UNROLLED = [kind for kind in RECURRENT if "toeplitz" not in kind]


def mixer(kind: str, taps: int | None = 4, bare: bool = False, time: int = TIME) -> MixerForm:
    """A random mixer in float64 around a form, with everything that a mixer can have or a gate alone."""
    torch.manual_seed(0)
    core = ALL[kind](time)
    heads, width = core.heads, core.v.shape[-1]

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64)

    shape = (core.batch, core.time, heads, width)
    return MixerForm(
        core=core,
        z=random(*shape),
        outputs=random(*shape),
        inputs=random(*shape),
        conv=None if taps is None else random(heads, width, taps),
        source=None if bare else random(*shape),
        skip=None if bare else random(*shape),
        gate=random(*shape),
    )


def expected(matrix: Tensor, bins: list[int], top: int) -> dict[str, Tensor]:
    """Every reduction from its definition, ``[batch, units, ...]``."""
    size = matrix.abs()
    mass, energy = size.sum(-1), size.square().sum(-1)
    distance = torch.arange(size.shape[-2])[:, None] - torch.arange(size.shape[-1])
    part = size / mass[..., None]
    return {
        "mass": mass,
        "energy": energy,
        "entropy": -(part * part.where(part > 0, 1).log()).sum(-1),
        "mean_distance_by_mass": (part * distance).sum(-1),
        "mean_distance_by_energy": (size.square() * distance).sum(-1) / energy,
        "column_mass": size.sum(-2),
        "column_energy": size.square().sum(-2),
        "histogram": torch.stack(
            [(size * ((distance >= low) & (distance < high))).sum((-1, -2)) for low, high in pairwise(bins)],
            dim=-1,
        ),
        "top": torch.cat([size, torch.zeros_like(size[..., :1].expand(*size.shape[:-1], top))], dim=-1)
        .topk(top)
        .values,
    }


def agree(attention: ImplicitAttention, units: list[int] | None = None) -> None:
    bins, top = [0, 1, 3, 8, 16], 5
    dense = attention.dense(units)
    want = expected(dense, bins, top)
    found = attention.reduced(REDUCTIONS, units, top=top, bins=bins)
    for name, value in want.items():
        if name == "top":
            sources, values = found.top_sources.transpose(1, 2), found.top_values.transpose(1, 2)
            assert relative_error(values.abs(), value) < 1e-10
            there = dense.gather(-1, sources.clamp(min=0))
            assert relative_error(values, there.masked_fill(sources < 0, 0)) < 1e-10
            assert (sources <= torch.arange(dense.shape[-2])[:, None]).all()
        else:
            got = getattr(found, name)
            got = got if name == "histogram" else got.transpose(1, 2)
            assert relative_error(got, value) < 1e-10, name


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind != "softmax with everything"])
def test_reductions_of_a_core_are_those_of_its_matrix(kind: str) -> None:
    attention = ImplicitAttention(mixer(kind), scope="core")
    agree(attention)
    agree(attention, [4, 0])


@pytest.mark.parametrize("taps", [None, 1, 4])
@pytest.mark.parametrize("kind", UNROLLED)
def test_reductions_of_a_mixer_are_those_of_its_matrix_and_build_no_tile(
    kind: str, taps: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    attention = ImplicitAttention(mixer(kind, taps), scope="mixer")
    agree(attention)
    agree(attention, [attention.units - 1, 2])
    energy = attention.dense().square().sum(-1)
    monkeypatch.setattr(attention._operator, "dense", None)
    monkeypatch.setattr(reductions.kernels, "stream", None)
    assert relative_error(attention.row_energy(), energy) < 1e-10  # a scan, no stream


@pytest.mark.parametrize("kind", ["softmax", "toeplitz"])
def test_reductions_of_other_mixers_are_those_of_their_matrices(kind: str) -> None:
    form = mixer(kind)
    if isinstance(form.core, Softmax):
        form = replace(form, conv=None, source=None, skip=None)
    assert isinstance(form.core, Softmax | Toeplitz)
    agree(ImplicitAttention(form, scope="mixer"))


@pytest.mark.parametrize("time", [1, 2, 5])
@pytest.mark.parametrize("kind", ["mamba", "delta", "scalar decay, exclusive"])
def test_mixers_shorter_than_their_convolution(kind: str, time: int) -> None:
    agree(ImplicitAttention(mixer(kind, 4, time=time), scope="mixer"))


def test_how_many_channels_are_done_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    form = mixer("scalar decay")
    whole = ImplicitAttention(form, scope="mixer").reduced(["mass", "energy"])
    monkeypatch.setattr(unrolled, "ELEMENTS", 5 * 8 * form.core.batch * TIME * random_forms.KEY)
    parts = ImplicitAttention(form, scope="mixer").reduced(["mass", "energy"])
    torch.testing.assert_close(parts.mass, whole.mass)
    torch.testing.assert_close(parts.energy, whole.energy)
    monkeypatch.setattr(reductions, "BLOCK_ELEMENTS", 64)
    agree(ImplicitAttention(mixer("toeplitz"), scope="mixer"))


def test_a_reset_cuts_off_what_lies_before_it() -> None:
    form = mixer("diagonal decay")
    core = form.core
    log_decay = core.log_decay.clone()
    log_decay[:, 12] = -torch.inf
    form = replace(form, core=replace(core, log_decay=log_decay))
    attention = ImplicitAttention(form, scope="mixer")
    agree(attention)
    values, sources = attention.topk(64)
    # What the convolution's taps reach is read by a source after the reset; a clamped exponential is not quite 0.
    assert values.masked_fill(sources >= 12 - 3, 0)[:, :, 15:].abs().max() < 1e-200


def test_the_named_read_outs_are_what_was_reduced() -> None:
    attention = ImplicitAttention(mixer("delta"), scope="mixer")
    dense = attention.dense([3])
    want = expected(dense, [0, 2, 4], 3)
    close = {"atol": 1e-12, "rtol": 1e-9}
    torch.testing.assert_close(attention.row_mass(3), want["mass"], **close)
    torch.testing.assert_close(attention.entropy(3), want["entropy"], **close)
    torch.testing.assert_close(attention.column_mass(3), want["column_mass"], **close)
    torch.testing.assert_close(attention.column_energy(3), want["column_energy"], **close)
    torch.testing.assert_close(attention.topk(3, 3).values.abs(), want["top"], **close)
    for by in ("mass", "energy"):
        torch.testing.assert_close(attention.mean_distance(by, 3), want[f"mean_distance_by_{by}"], **close)
    histogram, edges = attention.distance_histogram([0, 2, 4], 3)
    torch.testing.assert_close(histogram, want["histogram"], **close)
    assert edges.tolist() == [0, 2, 4]
    assert attention.distance_histogram()[1].tolist() == [0, 1, 2, 4, 8, 16, 32]


def test_energies_have_gradients_and_what_is_streamed_has_none() -> None:
    form = mixer("scalar decay")
    gate = form.gate.requires_grad_()
    attention = ImplicitAttention(replace(form, gate=gate), scope="mixer")
    assert torch.autograd.grad(attention.row_energy().sum(), gate)[0].abs().max() > 0
    assert not attention.row_mass().requires_grad


def test_bad_requests_get_one_sentence() -> None:
    attention = ImplicitAttention(mixer("mamba"), scope="core")
    with pytest.raises(InputError, match=r"^reductions: choose from mass, .*; got 'masses'\.$"):
        attention.reduced(["masses"])
    with pytest.raises(InputError, match=r"^top is the number of entries kept a row.*got 0\.$"):
        attention.topk(0)
    with pytest.raises(InputError, match=r"^bins are given by two or more edges"):
        attention.distance_histogram([4])
    with pytest.raises(InputError, match=r"^heads go from 0 to 5"):
        attention.entropy(6)
