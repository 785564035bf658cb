"""Systems against the outputs that the layers themselves computed."""

import pytest
import torch

from tests.probes.memory.models import tiny
from workbench.errors import InputError
from workbench.probes.memory import linear_system, mixer_systems, state_sizes


@pytest.mark.parametrize(
    ("mixer", "options"),
    [("retnet", {}), ("mamba", {}), ("gla", {}), ("gated_delta", {}), ("rwkv7", {"head_dim": 16}), ("rwkv4", {})],
)
def test_the_exported_system_run_by_hand_gives_what_the_layer_wrote(mixer: str, options: dict[str, int]) -> None:
    model = tiny(mixer, layers=1, **options)
    form = model.mixer_form(torch.randint(40, (2, 10)), 0)
    system, values = linear_system(form.core), form.core.v.detach()
    state = torch.zeros(*system.transition.shape[:1], *system.transition.shape[2:4], values.shape[-1]).double()
    for step in range(10):
        before = state
        state = system.transition[:, step] @ state + system.input[:, step, :, :, None] * values[:, step, :, None]
        read = (system.output[:, step, :, :, None] * (state if system.direct is None else before)).sum(2)
        if system.direct is not None:
            read = read + system.direct[:, step, :, None] * values[:, step]
        torch.testing.assert_close(read, form.z[:, step].detach(), rtol=1e-8, atol=1e-10)


def test_a_delta_rule_shrinks_one_direction_and_decays_the_others() -> None:
    form = tiny("gated_delta", layers=1).mixer_form(torch.randint(40, (1, 6)), 0).core
    system = linear_system(form, [4])
    decay = form.log_decay[0, 4].exp().flatten()
    shrunk = decay * (1 - form.write[0, 4] * form.k[0, 4].square().sum(-1))
    for head in range(form.heads):
        found = system.spectrum[0, 0, head]
        assert found.imag.abs().max() < 1e-12
        expected = torch.cat([decay[head].expand(form.k.shape[-1] - 1), shrunk[head][None]])
        torch.testing.assert_close(found.real.sort().values, expected.detach().sort().values)
        assert system.gain[0, 0, head].item() == pytest.approx(decay[head].item())


def test_one_page_has_a_row_a_mixer_with_sizes_and_spectra() -> None:
    model = tiny("retnet")
    tokens = torch.randint(40, (1, 12))
    page = mixer_systems(model, tokens, lengths=[64])
    sizes = state_sizes(model, [64])
    assert page[sizes.columns].equals(sizes) and page["form"].tolist() == ["ScalarDecay"] * 2
    # Sun et al. 2023, equation 8: the heads' decays, the slowest last.
    decays = [1 - 2.0 ** (-5 - head) for head in range(int(sizes["heads"][0]))]
    assert page["radius"].tolist() == pytest.approx([sum(decays) / len(decays)] * 2)
    assert page["gain"].tolist() == pytest.approx(page["radius"].tolist())
    assert page["slow"][0] == pytest.approx(decays[-1]) and page["fast"][0] == pytest.approx(decays[0])


def test_a_softmax_keeps_everything_and_grows() -> None:
    page = mixer_systems(tiny("attention"), torch.randint(40, (1, 5)))
    assert page["radius"].tolist() == [1, 1] and (page["bytes_per_token"] > 0).all() and (page["skip"] == 0).all()
    form = tiny("attention").mixer_form(torch.randint(40, (1, 5)), 0).core
    with pytest.raises(InputError, match="no state of one matrix"):
        linear_system(form)


def test_mambas_skip_is_on_the_page() -> None:
    model = tiny("mamba", layers=1)
    tokens = torch.randint(40, (1, 7))
    form = model.mixer_form(tokens, 0)
    page = mixer_systems(model, tokens, steps=7)
    assert page["skip"][0] == pytest.approx(form.skip.square().mean().sqrt().item(), rel=1e-6)
    with pytest.raises(InputError, match="Steps go from 0 to 6"):
        linear_system(form.core, [7])
