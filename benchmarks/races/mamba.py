"""Mamba-1 with mamba-130m's shapes: forward passes, and the induction scores of every channel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks import models
from benchmarks.race import Contestant, Race
from benchmarks.records import Target

STOCK, OURS = "stock slow path", "workbench"
CHANNELS, STATE = 1536, 16
FORWARD_LENGTH, INDUCTION_LENGTH = 1024, 2048


def races() -> tuple[Race, ...]:
    """Forward, the whole model with its residual stream, and induction."""
    return _forward(), residual(FORWARD_LENGTH), _induction()


def residual(time: int, layers: int = 24, width: int = 768, vocabulary: int = 50280) -> Race:
    """A whole model, the residual stream kept after every block."""

    def stock(dtype: Any = None) -> Any:
        return models.mamba(dtype, layers, width, vocabulary)

    def hidden_states(dtype: Any = None) -> Callable[[], Any]:
        model, tokens = stock(dtype), models.tokens(time, vocabulary)
        # The last one is that of the final norm.
        return lambda: model(tokens, use_cache=False, output_hidden_states=True).hidden_states[:-1]

    def ours() -> Callable[[], Any]:
        import workbench

        model, tokens = workbench.load(stock()), models.tokens(time, vocabulary)
        return lambda: model.run_with_cache(tokens, "hook_resid_post")

    def oracle() -> Any:
        import torch

        return _stacked(hidden_states(torch.float64)())

    return Race(
        name="residual-mamba",
        title="A whole Mamba with its residual stream cached",
        shapes=(
            f"batch 1, T = {time}; mamba-130m's shapes ({layers} layers, width {width}, state 16, vocabulary "
            f"{vocabulary:,}), random weights"
        ),
        contestants=(
            Contestant(
                OURS,
                '`workbench.load(stock model).run_with_cache(tokens, "hook_resid_post")`, logits too',
                ours,
                lambda result: _stacked(result[1][f"blocks.{layer}.hook_resid_post"] for layer in range(layers)),
            ),
            Contestant(
                STOCK,
                "transformers' MambaForCausalLM with `output_hidden_states=True`, without its CUDA kernels, logits too",
                hidden_states,
                _stacked,
            ),
        ),
        budget=60.0,
        warm_up=1,
        targets=(Target(side=STOCK, quantity="ratio", at_least=4),),
        oracle=oracle,
        error_against="the stock model in float64 (its scan still rounds x and B to float32)",
        notes="Under `torch.no_grad()`. The errors are of the residual stream after every block.",
        memory=True,
        threads=2,
    )


def _stacked(tensors: Iterable[Any]) -> Any:
    import torch

    return torch.stack(tuple(tensors))


def _forward() -> Race:
    return Race(
        name="forward-mamba",
        title="Forward pass of one Mamba layer",
        shapes=(
            f"batch 1, T = {FORWARD_LENGTH}; one layer of mamba-130m's shapes (width 768, {CHANNELS} channels, state "
            f"{STATE}), vocabulary {models.MAMBA_VOCABULARY:,}, random weights"
        ),
        contestants=(
            Contestant(STOCK, "transformers' MambaForCausalLM without its CUDA kernels: a loop over time", _stock),
            Contestant(OURS, "`workbench.load(stock model)(tokens)`, no hooks, the backend that `auto` picks", _ours),
        ),
        budget=12.0,
        warm_up=1,
        oracle=_oracle,
        error_against="the stock model in float64 (its scan still rounds x and B to float32)",
        notes="Under `torch.no_grad()`, logits only. Informative: there is no target.",
        memory=True,
    )


def _induction() -> Race:
    return Race(
        name="induction-mamba",
        title="Induction scores of every channel of one Mamba layer",
        shapes=(
            f"batch 1, T = {INDUCTION_LENGTH} (two copies of {INDUCTION_LENGTH // 2} random tokens); one layer of "
            f"mamba-130m's shapes, all {CHANNELS} channels, random weights"
        ),
        contestants=(
            Contestant(
                OURS,
                "`workbench.probes.find_heads(model, 'induction')`, scope mixer, one sequence, 40 rival positions",
                _find,
                answer=None,
            ),
        ),
        least=1,
        most=1,
        warm_up=0,  # half a minute a run; the imports of the first call count as its memory
        targets=(Target(side=OURS, quantity="peak_extra_mb", at_most=1000.0),),
        computed=_dense,
        memory=True,
    )


def _dense() -> dict[str, str]:
    entries = CHANNELS * INDUCTION_LENGTH**2
    full = entries * 4 / 1e9
    return {
        f"the {CHANNELS} matrices of {INDUCTION_LENGTH} x {INDUCTION_LENGTH} in float32 would take": f"{full:.1f} GB",
        "building them from the state, one multiply-add an entry and state dimension, would take": (
            f"{entries / 2 * STATE / 1e9:.0f} G multiply-adds and as many exponentials"
        ),
    }


def _stock() -> Callable[[], Any]:
    model, tokens = models.mamba(), models.tokens(FORWARD_LENGTH, models.MAMBA_VOCABULARY)
    return lambda: model(tokens, use_cache=False).logits


def _ours() -> Callable[[], Any]:
    import workbench

    model, tokens = workbench.load(models.mamba()), models.tokens(FORWARD_LENGTH, models.MAMBA_VOCABULARY)
    return lambda: model(tokens)


def _oracle() -> Any:
    import torch

    tokens = models.tokens(FORWARD_LENGTH, models.MAMBA_VOCABULARY)
    return models.mamba(torch.float64)(tokens, use_cache=False).logits


def _find() -> Callable[[], Any]:
    import workbench

    model = workbench.load(models.mamba())
    from workbench import probes

    return lambda: probes.find_heads(model, "induction", seeds=(0,), batch=1, block=INDUCTION_LENGTH // 2)
