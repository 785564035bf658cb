"""The logit lens against TransformerLens' parts for it: how far every depth's prediction is from the model's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import models, transformer_lens_models
from benchmarks.race import Race
from benchmarks.races.beside_lens import Call, beside_lens


def races() -> tuple[Race, ...]:
    """SmolLM2's thirty layers."""
    hooked = transformer_lens_models.hooked_llama
    return (race("SmolLM2-135M", models.smollm2, hooked, time=128, vocabulary=49_000),)


def race(label: str, stock: Callable[..., Any], hooked: Callable[[Any], Any], time: int, vocabulary: int) -> Race:
    """The mean divergence of every depth from the model, on one sequence."""

    def tokens() -> Any:
        return models.tokens(time, vocabulary)

    return beside_lens(
        "logit-lens",
        f"Logit lens: KL of every depth to the model, {label}",
        f"batch 1, T = {time}",
        ours=(
            "`evaluate_lenses(LogitLens(model), tokens)`: with surprisal, precision at 1, 5, 10, bits and accuracy",
            partial(_ours, stock, tokens),
        ),
        theirs=(
            "`run_with_cache` of the residual streams, `cache.accumulated_resid()`, then `ln_final`, `unembed` and the "
            "divergence, all depths at once; nothing else",
            partial(_lens, stock, hooked, tokens),
        ),
        peer="TransformerLens HookedTransformer",
        oracle=partial(_in_float64, stock, tokens),
        error_against="the same out of the stock model's hidden states in float64",
        notes="Under `torch.no_grad()`. No tool has a tuned lens for other models than softmax decoders to race with.",
    )


def _divergence(logits: Any, final: Any) -> Any:
    """Mean over positions of ``KL(model || lens)``, depth by depth: logits ``[depth, time, vocabulary]``."""
    predicted, exact = logits.log_softmax(-1), final.log_softmax(-1)
    return (exact.exp() * (exact - predicted)).sum(-1).mean(-1)


def _ours(stock: Callable[..., Any], tokens: Callable[[], Any]) -> Call:
    import torch

    import workbench
    from workbench.probes import lenses

    model, inputs = workbench.load(stock()), tokens()
    lens = lenses.LogitLens(model)
    return lambda: torch.from_numpy(lenses.evaluate_lenses(lens, inputs)["kl"].to_numpy().copy())


def _lens(stock: Callable[..., Any], hooked: Callable[[Any], Any], tokens: Callable[[], Any]) -> Call:
    model, inputs = hooked(stock()), tokens()

    def wanted(name: str) -> bool:
        return name.endswith(("hook_embed", "hook_pos_embed", "hook_resid_pre", "hook_resid_post"))

    def call() -> Any:
        final, cache = model.run_with_cache(inputs, names_filter=wanted)
        streams = cache.accumulated_resid(layer=None)[:, 0]
        return _divergence(model.unembed(model.ln_final(streams)), final[0])

    return call


def _in_float64(stock: Callable[..., Any], tokens: Callable[[], Any]) -> Any:
    import torch

    model: Any = stock().double()
    found = model(tokens(), output_hidden_states=True)
    # transformers hands over the last hidden state after the final norm, the others before it.
    norm = model.model.norm if hasattr(model, "model") else model.transformer.ln_f
    states = [model.lm_head(norm(state)) for state in found.hidden_states[:-1]]
    return _divergence(torch.stack([*states, found.logits])[:, 0], found.logits[0])
