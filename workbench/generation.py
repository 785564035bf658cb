"""Generation: an own loop over the hooked model, batched, with the wrapped model's own cache; hooks fire every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.states import ModelState, check_fits, going_on
from workbench.stock import positions

if TYPE_CHECKING:
    from workbench.running import RunnableModel


def generate(
    model: RunnableModel,
    tokens: Int[Tensor, "batch time"],
    attention_mask: Int[Tensor, "batch time"] | None,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    stop: set[int],
    seed: int | None,
    use_cache: bool,
    state: ModelState | None = None,
) -> Int[Tensor, "batch total"]:
    """Prompt and continuation of every row; rows that have ended are filled with padding.

    See `HookedModel.generate` for the arguments. Padding in the prompt has to be on the left.
    """
    _check_options(max_new_tokens, temperature, top_k, top_p)
    mask = torch.ones_like(tokens) if attention_mask is None else attention_mask.long()
    if not bool((mask.diff(dim=1) >= 0).all()):
        raise InputError("Generation needs padding on the left: a row of the attention mask goes from 1 back to 0.")
    generator = None if seed is None else torch.Generator(tokens.device).manual_seed(seed)
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    stops = torch.tensor(sorted(stop), dtype=torch.long, device=tokens.device)
    before = 0
    if state is not None:
        check_fits(state, tokens)
        if not use_cache or not bool(mask.all()):
            raise InputError("A text that goes on from a state needs the cache and has no padding of its own.")
        before = state.mask.shape[1]
        mask = torch.cat([state.mask.to(mask), mask], dim=1)
    fed = 0
    with torch.no_grad(), going_on(model, state) as cache:
        for _ in range(max_new_tokens):
            where = positions(mask)[:, before + fed :]
            output = model.step(tokens[:, fed:], mask, where, cache, use_cache)
            cache, fed = output.cache, tokens.shape[1] if use_cache else 0
            chosen = _choose(output.logits[:, -1], temperature, top_k, top_p, generator)
            chosen = chosen.masked_fill(ended, model.pad_id)
            tokens = torch.cat([tokens, chosen[:, None]], dim=1)
            mask = torch.cat([mask, torch.ones_like(chosen[:, None])], dim=1)
            ended = ended | torch.isin(chosen, stops)
            if bool(ended.all()):
                break
    return tokens


def _choose(
    logits: Float[Tensor, "batch vocab"],
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    generator: torch.Generator | None,
) -> Int[Tensor, " batch"]:
    if temperature == 0:
        return logits.argmax(-1)
    logits = logits.float() / temperature
    if top_k is not None:
        kept = min(top_k, logits.shape[-1])
        logits = logits.masked_fill(logits < logits.topk(kept).values[:, -1:], -torch.inf)
    if top_p is not None:
        ordered, order = logits.sort(descending=True)
        probability = ordered.softmax(-1)
        # What lies before a token decides, so the one that crosses the threshold stays.
        outside = probability.cumsum(-1) - probability >= top_p
        logits = logits.masked_fill(torch.zeros_like(outside).scatter(1, order, outside), -torch.inf)
    return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]


def _check_options(max_new_tokens: int, temperature: float, top_k: int | None, top_p: float | None) -> None:
    for name, value, right, needed in (
        ("max_new_tokens", max_new_tokens, max_new_tokens >= 1, "at least 1"),
        ("temperature", temperature, temperature >= 0, "at least 0 (0 is greedy)"),
        ("top_k", top_k, top_k is None or top_k >= 1, "at least 1, or None"),
        ("top_p", top_p, top_p is None or 0 < top_p <= 1, "above 0 and at most 1, or None"),
    ):
        if not right:
            raise InputError(f"{name} is {value}; it must be {needed}.")
