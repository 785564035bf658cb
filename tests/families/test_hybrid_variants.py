"""What the hybrids' adapters do not compute is refused, with the configuration key that asks for it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import workbench as wb
from tests.families.case import build
from tests.families.cases import every_case
from workbench.errors import UnsupportedFamilyError


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("jamba", "hidden_act"),
        ("zamba", "hidden_mamba_act"),
        ("bamba", "hidden_act"),
        ("falcon_h1", "hidden_act"),
        ("nemotron_h", "mamba_hidden_act"),
        ("granite_hybrid", "hidden_act"),
    ],
)
def test_an_activation_without_a_linear_form_is_refused_by_its_key(name: str, key: str) -> None:
    stock: Any = every_case()[name].build()
    config = copy.deepcopy(stock.config)
    setattr(config, key, "gelu")
    with pytest.raises(UnsupportedFamilyError, match=rf"'gelu'.*{key}|{key}.*'gelu'"):
        wb.HookedModel(type(stock)(config))


def test_a_recurrent_mixer_that_blocks_share_is_refused() -> None:
    stock: Any = build(every_case()["zamba"])
    stock.model.layers[2].mamba = stock.model.layers[0].mamba
    with pytest.raises(UnsupportedFamilyError, match="Layers 0 and 2 share one recurrent mixer"):
        wb.HookedModel(stock)
