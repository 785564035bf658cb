"""A zoo model gives the same logits whether it reads at once, step by step, or behind left padding."""

import pytest
import torch

from workbench.zoo import ZooConfig, ZooModel

MIXERS = {
    "attention": {"n_heads": 4},
    "mamba": {"state_size": 16, "initialisation": "mimetic"},
    "mamba2": {"state_size": 16, "head_dim": 16, "initialisation": "mimetic"},
}


@pytest.fixture(params=sorted(MIXERS))
def model(request: pytest.FixtureRequest) -> ZooModel:
    torch.manual_seed(0)
    config = ZooConfig(
        request.param, vocab_size=60, d_model=32, n_layers=2, d_mlp=48, initializer_range=0.2,
        mixer_options=MIXERS[request.param],
    )  # fmt: skip
    model = ZooModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases start at zero and would hide what they do
            parameter += 0.1 * torch.randn_like(parameter)
    return model


@torch.no_grad()
def test_decoding_step_by_step_equals_reading_at_once(model: ZooModel) -> None:
    ids = torch.randint(60, (2, 75))
    expected = model(ids).logits
    output = model(ids[:, :66], use_cache=True)
    steps = [output.logits]
    for t in range(66, 75):
        output = model(ids[:, t : t + 1], cache=output.past_key_values, use_cache=True)
        steps.append(output.logits)
    assert torch.allclose(torch.cat(steps, 1), expected, atol=1e-4)


@torch.no_grad()
def test_reading_in_two_parts_equals_reading_at_once(model: ZooModel) -> None:
    ids = torch.randint(60, (2, 75))
    first = model(ids[:, :2], use_cache=True)  # shorter than the convolution
    second = model(ids[:, 2:], cache=first.past_key_values, use_cache=True)
    assert torch.allclose(torch.cat([first.logits, second.logits], 1), model(ids).logits, atol=1e-4)


@torch.no_grad()
def test_left_padding_changes_no_logit_of_a_real_token(model: ZooModel) -> None:
    ids = torch.randint(60, (1, 40))
    padded = torch.cat([torch.randint(60, (1, 11)), ids], 1)
    other = torch.randint(60, (1, 51))
    mask = torch.ones(2, 51, dtype=torch.long)
    mask[0, :11] = 0
    logits = model(torch.cat([padded, other]), attention_mask=mask).logits
    assert torch.allclose(logits[0, 11:], model(ids).logits[0], atol=1e-4)
    assert torch.allclose(logits[1], model(other).logits[0], atol=1e-4)
    assert torch.isfinite(logits).all()


@torch.no_grad()
def test_decoding_behind_left_padding_equals_reading_at_once(model: ZooModel) -> None:
    ids = torch.randint(60, (1, 20))
    padded = torch.cat([torch.randint(60, (1, 5)), ids], 1)
    mask = torch.ones(1, 25, dtype=torch.long)
    mask[0, :5] = 0
    output = model(padded[:, :22], attention_mask=mask[:, :22], use_cache=True)
    steps = [output.logits]
    for t in range(22, 25):
        output = model(padded[:, t : t + 1], attention_mask=mask[:, : t + 1], cache=output.past_key_values)
        steps.append(output.logits)
    assert torch.allclose(torch.cat(steps, 1)[0, 5:], model(ids).logits[0], atol=1e-4)


def test_no_logit_depends_on_a_later_token(model: ZooModel) -> None:
    embedded = model.embed(torch.randint(60, (1, 70))).detach().requires_grad_()
    x = embedded
    for block in model.blocks:
        x = block(x)
    x[0, 65].square().sum().backward()
    reach = embedded.grad[0].abs().sum(-1)
    assert (reach[66:] == 0).all()
    assert (reach[:66] > 0).all()
