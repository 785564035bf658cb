"""Where a module's parameters are and of which dtype: mixtures that no forward pass survives are refused by name."""

from __future__ import annotations

import torch
from torch import nn

from workbench.errors import LoadError


def check_placement(module: nn.Module) -> None:
    """Refuse a module whose parts cannot be multiplied with each other.

    Half precision beside float32 is fine (decays and norms are often kept wide), and so are several devices where
    accelerate moves tensors between them (``device_map``).

    Raises:
        LoadError: parameters on several devices that nobody moves tensors between, or float64 beside other dtypes.
    """
    first: tuple[str, nn.Parameter] | None = None
    moved = any(hasattr(part, "_hf_hook") for part in module.modules())
    for name, parameter in module.named_parameters():
        if not parameter.is_floating_point():
            continue
        if first is None:
            first = name, parameter
            continue
        other, before = first
        if parameter.device != before.device and not moved:
            raise LoadError(
                f"{type(module).__name__} lies on several devices: {other} on {before.device}, {name} on "
                f"{parameter.device}; move it to one, or load it with a device_map."
            )
        if parameter.dtype != before.dtype and torch.float64 in (parameter.dtype, before.dtype):
            raise LoadError(
                f"{type(module).__name__} mixes dtypes: {other} is {_name(before.dtype)}, {name} is "
                f"{_name(parameter.dtype)}; convert all of it, as in model.to(torch.float64)."
            )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
