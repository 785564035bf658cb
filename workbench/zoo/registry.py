"""Mixers by name. A name can be taken once."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from workbench.zoo.config import ZooConfig

MixerBuilder = Callable[[ZooConfig, int], nn.Module]
_builders: dict[str, MixerBuilder] = {}


def register(name: str) -> Callable[[MixerBuilder], MixerBuilder]:
    """Register a mixer class (called with the config and the layer's index) under ``name``.

    Raises:
        ValueError: the name is taken by another class.
    """

    def decorate(builder: MixerBuilder) -> MixerBuilder:
        if _builders.setdefault(name, builder) is not builder:
            raise ValueError(f"the mixer name {name!r} is already registered to {_builders[name]!r}")
        return builder

    return decorate


def mixer(name: str) -> MixerBuilder:
    """The mixer class registered under ``name``.

    Raises:
        KeyError: nothing is; the message lists what is.
    """
    if name not in _builders:
        raise KeyError(f"no mixer is registered as {name!r}; there are {names()}")
    return _builders[name]


def names() -> list[str]:
    """The registered names, sorted."""
    return sorted(_builders)
