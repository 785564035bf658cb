"""The load-time check refuses what the adapters do not compute."""

import copy
import importlib.metadata
from typing import Any

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

import workbench as wb
from tests.workbench import recurrent_cases
from tests.workbench.decoder_cases import batch, build
from workbench.errors import FidelityError
from workbench.families.mamba import MambaAdapter
from workbench.families.softmax import RegistryAttention
from workbench.fidelity import check_fidelity, stock_run


def test_a_mixer_that_computes_something_else_is_refused_with_layer_error_and_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = RegistryAttention.attend

    def wrong(self: RegistryAttention, *args: Any, **kwargs: Any) -> torch.Tensor:
        return right(self, *args, **kwargs) * (1.01 if self.layer == 1 else 1.0)

    stock = build("llama")
    plain = stock(input_ids=batch()).logits
    monkeypatch.setattr(RegistryAttention, "attend", wrong)
    with pytest.raises(FidelityError) as refusal:
        wb.load(stock)
    told = str(refusal.value)
    assert "first in layer 1 (LlamaAttention)" in told and "relative error" in told and "allowed 1e-05" in told
    assert f"transformers {importlib.metadata.version('transformers')}" in told
    assert f"torch {importlib.metadata.version('torch')}" in told
    monkeypatch.undo()
    assert torch.equal(stock(input_ids=batch()).logits, plain)  # what was refused was taken out again
    assert wb.load(stock).cfg.n_layers == 3


def test_padding_that_is_handled_differently_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = MambaAdapter.forward

    def blind(self: MambaAdapter, hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return right(self, hidden_states, **{**kwargs, "attention_mask": None})

    monkeypatch.setattr(MambaAdapter, "forward", blind)
    with pytest.raises(FidelityError, match="first in layer 0"):
        wb.load(recurrent_cases.build("mamba"))
    assert wb.load(recurrent_cases.build("mamba"), check=False).cfg.family == "mamba"


def test_rounding_that_a_deep_random_model_amplifies_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block agrees on the same input; that their outputs drift apart is the model's doing."""
    torch.manual_seed(0)
    stock = MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=384, num_hidden_layers=24)).eval()
    run = stock_run(stock, 64, "cpu")
    twin = copy.deepcopy(stock)
    model = wb.load(stock, check=False)
    drift = check_fidelity(model, run)
    assert check_fidelity(model, run, tolerance=0.99 * drift) == drift
    right = MambaAdapter.forward

    def slightly_off(self: MambaAdapter, hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return right(self, hidden_states, **kwargs) * (1 + 1e-2 * (self.layer == 7))

    monkeypatch.setattr(MambaAdapter, "forward", slightly_off)
    with pytest.raises(FidelityError, match=r"first in layer 7 \(MambaMixer\)"):
        check_fidelity(wb.load(twin, check=False), run, tolerance=0.99 * drift)
