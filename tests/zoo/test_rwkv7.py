"""RWKV-7's mixer is what the paper's equations say, written again here token by token in the paper's row layout."""

import math

import pytest
import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.zoo import ZooConfig, ZooModel
from workbench.zoo.handing import forward_pass
from workbench.zoo.rwkv7 import RWKV7

WIDTH, HEADS, SIZE, LAYERS = 24, 2, 12, 3


def mixers() -> list[RWKV7]:
    config = ZooConfig("rwkv7", d_model=WIDTH, n_layers=LAYERS, mixer_options={"head_dim": SIZE, "rank": 5})
    made = [RWKV7(config, layer) for layer in range(LAYERS)]
    for mixer in made:
        for parameter in mixer.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return [mixer.double() for mixer in made]


def loramlp(weights: dict[str, Tensor], name: str, x: Tensor, activation=lambda x: x) -> Tensor:  # type: ignore[no-untyped-def]
    out = activation(x @ weights[f"{name}.down.weight"].T) @ weights[f"{name}.up.weight"].T
    return out + weights.get(f"{name}.up.bias", 0)


def paper(mixer: RWKV7, sequence: Tensor, first_values: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
    """Equations 3 to 19 for one sequence ``[time, model]``: outputs and the values the layer hands on."""
    weights = dict(mixer.state_dict())
    state = torch.zeros(HEADS, SIZE, SIZE, dtype=torch.float64)  # [head, value, key]: the paper's rows
    previous = torch.zeros(WIDTH, dtype=torch.float64)
    outputs, handed = [], []
    for t, x in enumerate(sequence):

        def lerp(name: str, x: Tensor = x, previous: Tensor = previous) -> Tensor:
            mu = weights[f"mix.{name}"]
            return (1 - mu) * x + mu * previous

        r, k, v = (weights[f"{name}_proj.weight"] @ lerp(name) for name in "rkv")
        a = loramlp(weights, "a_lora", lerp("a")).sigmoid()
        g = loramlp(weights, "g_lora", lerp("g"), torch.sigmoid)
        w = torch.exp(-math.exp(-0.5) * loramlp(weights, "w_lora", lerp("w"), torch.tanh).sigmoid())
        handed.append(v)
        if first_values is not None:
            nu = loramlp(weights, "v_lora", lerp("v")).sigmoid()
            v = v * (1 - nu) + first_values[t] * nu
        kappa = k * weights["removal"]
        k = k * (1 - weights["replacement"] + weights["replacement"] * a)
        out = torch.zeros(HEADS, SIZE, dtype=torch.float64)
        for h in range(HEADS):
            part = slice(h * SIZE, (h + 1) * SIZE)
            unit = kappa[part] / kappa[part].square().sum().sqrt()
            transition = torch.diag(w[part]) - torch.outer(unit, a[part] * unit)
            state[h] = state[h] @ transition + torch.outer(v[part], k[part])
            read = state[h] @ r[part]
            normed = (read - read.mean()) / (read.var(unbiased=False) + 1e-5 * SIZE).sqrt()
            normed = normed * weights["norm.weight"][part] + weights["norm.bias"][part]
            out[h] = normed + (r[part] * weights["bonus"][h] * k[part]).sum() * v[part]
        outputs.append(weights["o_proj.weight"] @ (out.flatten() * g))
        previous = x
    return torch.stack(outputs), handed


def test_the_mixer_computes_the_papers_equations_and_later_layers_read_the_firsts_values() -> None:
    made = mixers()
    x = torch.randn(LAYERS, 2, 11, WIDTH, dtype=torch.float64)
    with forward_pass(), torch.no_grad():
        actual = [mixer(hidden) for mixer, hidden in zip(made, x, strict=True)]
    for row in range(2):
        first: list[Tensor] | None = None
        for layer, mixer in enumerate(made):
            expected, own = paper(mixer, x[layer, row], first)
            first = own if layer == 0 else first
            torch.testing.assert_close(actual[layer][row], expected, atol=1e-11, rtol=1e-9)


def test_a_later_layer_on_its_own_says_what_it_lacks() -> None:
    with pytest.raises(InputError, match="values of the model's first layer"):
        mixers()[1](torch.randn(1, 3, WIDTH, dtype=torch.float64))


def test_values_of_one_pass_are_not_seen_by_one_inside_it_or_after_it() -> None:
    made = mixers()
    x = torch.randn(1, 3, WIDTH, dtype=torch.float64)
    with forward_pass():
        made[0](x)
        with forward_pass(), pytest.raises(InputError):
            made[1](x)
    with forward_pass(), pytest.raises(InputError):
        made[1](x)


def test_two_passes_that_wait_in_turns_keep_their_own_values() -> None:
    config = ZooConfig(
        "rwkv7", vocab_size=30, d_model=WIDTH, n_layers=LAYERS, d_mlp=8, mixer_options={"head_dim": SIZE}
    )
    model, second = HookedModel(ZooModel(config)), HookedModel(ZooModel(config))
    tokens = torch.randint(0, 30, (1, 9))
    alone = [attention.form.z for _, attention in model.implicit_attentions(tokens)]
    together = zip(model.implicit_attentions(tokens), second.implicit_attentions(tokens), strict=True)
    for expected, ((_, attention), _) in zip(alone, together, strict=True):
        torch.testing.assert_close(attention.form.z, expected, atol=0, rtol=0)


def test_the_first_layers_values_carry_gradient_into_every_later_layer() -> None:
    model = ZooModel(
        ZooConfig("rwkv7", vocab_size=30, d_model=WIDTH, n_layers=2, d_mlp=8, mixer_options={"head_dim": SIZE})
    )
    model.blocks[0].mixer.o_proj.weight.data.zero_()  # nothing of the first mixer goes through the residual stream
    model(torch.randint(0, 30, (1, 5))).logits.square().sum().backward()
    assert model.blocks[0].mixer.v_proj.weight.grad.abs().max() > 0
    assert model.blocks[0].mixer.k_proj.weight.grad.abs().max() == 0
