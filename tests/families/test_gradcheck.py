"""Gradients through every family's mixer against differences of outputs: in what it reads and in each parameter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.families.case import Case, all_in_float64, batch_of_tokens, build, hooked, recurrent
from tests.families.cases import every_case
from workbench.stock import StockCall


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in every_case().items()])
def test_gradients_through_the_mixer_are_those_of_differences(case: Case) -> None:
    model = build(case, torch.float64)
    tokens = batch_of_tokens()[0][:, :6]
    call = StockCall(model)
    with hooked(model) as wrapped, all_in_float64(torch.float64):
        embedding = next(part for part in model.modules() if isinstance(part, torch.nn.Embedding)).weight
        parameters = (embedding, *recurrent(wrapped, case).module.parameters())

        def logits(*changed: Tensor) -> Tensor:  # gradcheck changes the model's own parameters in place
            return call(tokens, use_cache=False).logits[:, 1:].contiguous()

        # Wide enough a step that routers which stock computes in float32 do not drown the differences.
        assert torch.autograd.gradcheck(logits, parameters, eps=1e-4, atol=1e-4, fast_mode=True)
