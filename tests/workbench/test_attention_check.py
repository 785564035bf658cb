"""`check`: small for every family, scope and dtype, and large as soon as anything is wrong."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from tests.families.case import record as family_record
from tests.families.cases import every_case
from tests.workbench.recurrent_cases import CASES, batch_of_tokens, build, hooked, limited_mamba2, record, run
from workbench import kernels
from workbench.attention import ImplicitAttention, operators
from workbench.forms import MixerForm, Softmax

LIMIT = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.mark.parametrize("dtype", LIMIT)
@pytest.mark.parametrize("scope", ["core", "mixer"])
@pytest.mark.parametrize("case", [*CASES, limited_mamba2])
def test_every_row_of_every_unit_gives_the_layers_own_output(case: str, scope: str, dtype: torch.dtype) -> None:
    for padded in (False, True):
        attention = ImplicitAttention.from_form(record(build(case, dtype), padded=padded), scope=scope)
        assert attention.recorded.abs().max() > 1e-4
        assert attention.check(full=True) < LIMIT[dtype]
        assert attention.check() < LIMIT[dtype]


@pytest.mark.parametrize("scope", ["core", "mixer"])
@pytest.mark.parametrize("case", CASES)
def test_a_wrong_output_in_one_unit_at_one_token_is_seen(case: str, scope: str) -> None:
    form = record(build(case, torch.float64))
    name = "z" if scope == "core" else "outputs"
    outputs = getattr(form, name).clone()
    outputs[0, 5, -1] += outputs.abs().max()
    assert ImplicitAttention.from_form(replace(form, **{name: outputs}), scope=scope).check(full=True) > 0.4


@pytest.mark.parametrize("part", ["conv", "value_offset", "source", "skip", "gate", "inputs"])
def test_each_part_of_the_mixer_matters(part: str) -> None:
    form = record(build("mamba2", torch.float64), padded=False)
    assert part in [field.name for field in fields(MixerForm)]
    assert ImplicitAttention.from_form(replace(form, **{part: None}), scope="mixer").check(full=True) > 1e-3


@pytest.mark.parametrize("name", ["log_decay", "write", "q", "k"])
@pytest.mark.parametrize("case", ["mamba", "mamba2"])
def test_each_operand_of_the_core_matters(case: str, name: str) -> None:
    form = record(build(case, torch.float64), padded=False)
    core = replace(form.core, **{name: getattr(form.core, name) * 1.1})
    assert ImplicitAttention.from_form(replace(form, core=core)).check(full=True) > 1e-3


def test_an_edited_output_is_no_longer_the_matrix_times_the_values() -> None:
    model = build("mamba", torch.float64)
    forms = []
    with hooked(model) as installed:
        edited = installed[0].points["hook_state"].listening(lambda state, hook: state + 0.1 * (hook.step == 3))
        with installed[0].recorded_by(forms.append), edited:
            run(model, batch_of_tokens()[0])
    assert ImplicitAttention.from_form(forms[0]).check() > 1e-3


@pytest.mark.parametrize("scope", ["core", "mixer"])
@pytest.mark.parametrize("case", CASES)
def test_what_a_cache_left_is_part_of_the_constant(case: str, scope: str) -> None:
    model = build(case, torch.float64)
    tokens, mask = batch_of_tokens()
    forms = []
    with hooked(model) as installed:
        _, cache = run(model, tokens[:, :9], mask[:, :9], keep=True)
        with installed[1].recorded_by(forms.append):
            run(model, tokens[:, 9:], mask, cache=cache, keep=True)
    attention = ImplicitAttention.from_form(forms[0], scope=scope)
    assert attention.check(full=True) < 1e-10
    assert ImplicitAttention.from_form(replace(forms[0], carried_z=None), scope=scope).check(full=True) > 1e-3
    if scope == "mixer":
        assert ImplicitAttention.from_form(replace(forms[0], value_offset=None), scope=scope).check(full=True) > 1e-3


def test_the_left_side_does_not_come_from_the_layers_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    form = record(build("mamba", torch.float64))

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("check ran the scan")

    monkeypatch.setattr(operators.kernels, "forward", refuse)
    monkeypatch.setattr(operators.kernels, "iterate", refuse)
    assert ImplicitAttention.from_form(form).check(full=True) < 1e-10


def softmax_record(dtype: torch.dtype, **options: object) -> MixerForm:
    generator = torch.Generator().manual_seed(2)
    q, k, v = (torch.randn(2, 11, heads, 4, generator=generator, dtype=dtype) for heads in (6, 2, 2))
    mask = torch.ones(11, 11, dtype=torch.bool).tril()[None, None].repeat(2, 1, 1, 1)
    mask[1, :, :, :4] = False
    core = Softmax(q=q, k=k, v=v, scale=0.5, mask=mask, **options)  # type: ignore[arg-type]
    z, _ = kernels.forward(core)
    z[1, :4] = 7.0  # what stock attention writes at pads is arbitrary
    return MixerForm(core=core, z=z, outputs=z)


@pytest.mark.parametrize("dtype", LIMIT)
@pytest.mark.parametrize("scope", ["core", "mixer"])
def test_softmax_with_shared_keys_and_pads(scope: str, dtype: torch.dtype) -> None:
    attention = ImplicitAttention.from_form(softmax_record(dtype), scope=scope)
    assert (attention.unit, attention.units) == ("head", 6)
    assert attention.check(full=True) < LIMIT[dtype]
    assert attention.check() < LIMIT[dtype]
    form = softmax_record(dtype)
    form.z[1, 5, 3] += 1.0
    assert ImplicitAttention.from_form(form, scope=scope).check(full=True) > 0.1


def test_nan_in_the_outputs_is_reported_as_nan() -> None:
    form = record(build("mamba"))
    form.z[0, 3] = float("nan")
    assert ImplicitAttention.from_form(form).check(full=True) != ImplicitAttention.from_form(form).check(full=True)


def test_a_centred_norm_over_channels_with_factors_of_their_own_is_refused() -> None:
    form = family_record(every_case()["zoo rwkv7"], torch.float64)
    assert form.centred and ImplicitAttention.from_form(form, scope="mixer").check(full=True) < 1e-10
    source = torch.ones_like(form.core.v)
    source[..., 0] = 2.0
    with pytest.raises(ValueError, match="must share one factor"):
        ImplicitAttention.from_form(replace(form, source=source), scope="mixer")
