"""Codebooks trained alone on vectors, or inside a model on its own loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import DivergenceError, InputError
from workbench.loss import next_token_loss
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.saes.codebook.codebook import Codebook, first_codes
from workbench.saes.site import VectorSite
from workbench.saes.streams import activation_stream
from workbench.saes.training.training import BUFFER_BYTES, MIXED, training_text


def fit_codebook(
    batches: Iterable[Float[Tensor, "batch d_in"]],
    n_codes: int,
    k: int = 8,
    *,
    steps: int = 500,
    learning_rate: float = 1e-3,
    seed: int = 0,
    progress: bool = True,
    **about: Any,
) -> Codebook:
    """Train a codebook on vectors: codes move to where ``C(x)`` is nearest to `x` in the mean.

    Args:
        batches: vectors; the first batches, until there are four vectors a code, decide where the codes begin.
        learning_rate: of Adam, in units of the codes' mean norm; it falls to 0.
        about: ``hook``, ``head``, ``every``, ``model_name`` of `Codebook`.

    Raises:
        InputError: too few vectors for so many codes.
        DivergenceError: the loss is not finite.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}; at least one is needed.")
    source = iter(batches)
    held: list[Tensor] = []
    while sum(map(len, held)) < 4 * n_codes:
        batch = next(source, None)
        if batch is None:
            break
        held.append(batch.detach())
    if not held:
        raise InputError("There is not a single batch of vectors to train on.")
    codebook = Codebook(first_codes(torch.cat(held), n_codes, k, seed), k, **about)
    rate = learning_rate * float(codebook.codes.detach().norm(dim=-1).mean())
    optimiser = torch.optim.Adam(codebook.parameters(), lr=rate)
    for step in tracked(range(steps), progress, "training a codebook"):
        batch = held[step] if step < len(held) else next(source, None)
        if batch is None:
            break
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - step / steps)
        _stepped(optimiser, codebook.reconstruction_loss(batch), step)
    return codebook.requires_grad_(False)


def train_codebook(
    model: HookedModel,
    source: Any,
    site: VectorSite | str,
    n_codes: int = 1024,
    k: int = 8,
    *,
    batch: int = 4096,
    length: int | None = None,
    steps: int = 500,
    learning_rate: float = 1e-3,
    seed: int = 0,
    progress: bool = True,
) -> Codebook:
    """Train a codebook on what passes at a hook while the model, which stays as it is, reads text.

    Args:
        source: as of `train_sae`; an iterator that ends before the steps do ends the training.
        batch: vectors a step.

    Raises:
        InputError, HookNameError: no such hook or source; see `fit_codebook` for the rest.
    """
    at = VectorSite.of(model, site) if isinstance(site, str) else site
    text = training_text(source, length, seed)
    row = 4 * at.width(model)
    room = row * (batch + 16 * text.length) + min(BUFFER_BYTES, row * MIXED * batch)
    stream = activation_stream(model, text, at, batch=batch, seed=seed, buffer_bytes=room)
    about = {"hook": at.hook, "head": at.head, "every": at.every, "model_name": model.cfg.model_name}
    return fit_codebook(
        stream, n_codes, k, steps=steps, learning_rate=learning_rate, seed=seed, progress=progress, **about
    )


def train_with_codebooks(
    model: HookedModel,
    source: Any,
    codebooks: Sequence[Codebook],
    *,
    train_model: bool = True,
    reconstruction: float = 1.0,
    steps: int = 200,
    windows: int = 8,
    length: int | None = None,
    learning_rate: float = 1e-4,
    seed: int = 0,
    progress: bool = True,
) -> list[float]:
    """Train codebooks inside a model, and with `train_model` the model around them, in place (section 2 of the paper).

    The loss is that of the next token with the codebooks in the forward pass, and `reconstruction` times the mean
    squared distance of each codebook's sum from what it reads, relative to the mean square of that.

    Args:
        codebooks: each says which hook it belongs to; `train_codebook` makes good ones to begin with.
        train_model: False to train the codes alone, on the model's loss.
        windows: texts a step.

    Returns:
        The next-token loss of every step, in nats.

    Raises:
        InputError: no codebook, two at one place, or one of a recurrent state, whose recurrence cannot be trained
            through at every step here.
        DivergenceError: the loss is not finite.
    """
    if not codebooks:
        raise InputError("There is no codebook to train.")
    places = [(book.site(model), book) for book in codebooks]
    named = [(site.hook, site.head) for site, _ in places]
    if len(set(named)) < len(named):
        raise InputError("Two codebooks are at one place; one of them would read what the other made.")
    for site, _ in places:
        if model.points[site.hook].per_step:
            raise InputError(f"{site.hook} is a recurrent state; a codebook there is trained alone, by train_codebook.")
    trained = [book.codes.requires_grad_(True) for book in codebooks]
    before = [(tensor, tensor.requires_grad) for tensor in model.parameters()]
    for tensor, _ in before:
        tensor.requires_grad_(train_model)
    weights = [tensor for tensor, _ in before] if train_model else []
    optimiser = torch.optim.AdamW([*trained, *weights], lr=learning_rate, weight_decay=0.0)
    losses: list[float] = []
    texts = training_text(source, length, seed).batches(model, windows)
    try:
        for step in tracked(range(steps), progress, "training with codebooks"):
            batch = next(texts, None)
            if batch is None:
                break
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * (1 - step / steps)
            tokens = batch.tokens.to(model.cfg.device)
            apart: list[Tensor] = []
            with torch.enable_grad(), model.hooks(fwd_hooks=[_edit(model, *place, apart) for place in places]):
                loss = next_token_loss(model(tokens), tokens, _mask(batch.lengths, tokens))
            losses.append(float(loss.detach()))
            _stepped(optimiser, loss + reconstruction * sum(apart), step)
    finally:
        for tensor, wanted in before:
            tensor.requires_grad_(wanted)
            tensor.grad = None
        for book in codebooks:
            book.requires_grad_(False)
    if not losses:
        raise InputError("There is not a single text to train on.")
    return losses


def _edit(model: HookedModel, site: VectorSite, codebook: Codebook, apart: list[Tensor]) -> tuple[str, Any]:
    def change(vectors: Tensor) -> Tensor:
        square = vectors.detach().pow(2).sum(-1).mean().clamp(min=1e-12)
        apart.append(codebook.reconstruction_loss(vectors) / square)
        changed: Tensor = codebook(vectors)
        return changed

    return site.editor(model, change)


def _mask(lengths: Tensor, tokens: Tensor) -> Tensor:
    return (torch.arange(tokens.shape[1])[None] < lengths.cpu()[:, None]).to(tokens)


def _stepped(optimiser: torch.optim.Optimizer, loss: Tensor, step: int) -> None:
    if not math.isfinite(float(loss.detach())):
        raise DivergenceError(f"The loss is not finite at step {step}; take a smaller learning rate.")
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
