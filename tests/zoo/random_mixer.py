"""Native mixers with random weights in float64, and what they are run on."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.zoo import ZooConfig, registry
from workbench.zoo.mixer import Mixer

WIDTH, TIME, EPS = 12, 70, 1e-5  # longer than a chunk of the kernels


def build(name: str, layer: int = 1, n_layers: int = 3, size: float = 0.4, **options: object) -> Mixer:
    """A mixer whose every parameter is random: zeros and ones would hide a parameter that is not used."""
    config = ZooConfig(name, d_model=WIDTH, n_layers=n_layers, norm_eps=EPS, mixer_options=dict(options))
    mixer = registry.mixer(name)(config, layer)
    assert isinstance(mixer, Mixer)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(size * torch.randn_like(parameter))
    return mixer.double().eval()


def weights(mixer: Mixer) -> dict[str, Tensor]:
    """The parameters by name."""
    return {name: parameter.detach() for name, parameter in mixer.named_parameters()}


def tokens() -> Tensor:
    """One sequence of random inputs, ``[time, model]``."""
    return torch.randn(TIME, WIDTH, dtype=torch.float64)
