"""How well a token can still be read off a state or a residual stream `k` tokens later, at every depth.

The two axes are MemMamba's horizontal and vertical memory fidelity (Wang et al. 2025, "MemMamba: Rethinking Memory
Patterns in State Space Model", arXiv:2510.03279): what is left of a token along time and along layers. Theirs are
reconstruction errors; here the token itself is asked for, by a linear reader in closed form, so that chance and
certainty are known. Such a reader finds what is kept by its place. What an associative memory would answer if it were
asked with the right key is another thing, and `recall_by_bytes` asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint, NamesFilter
from workbench.model import HookedModel
from workbench.probes.linear.places import At, Place, places
from workbench.steps import at_steps
from workbench.tasks import Vocabulary, bootstrap_mean


@checked_call
@torch.no_grad()
def memory_fidelity(
    model: HookedModel,
    *,
    lags: Sequence[int] = (0, 1, 2, 4, 8, 16, 32),
    at: At = "resid_post",
    layers: Sequence[int] | int | None = None,
    symbols: int = 16,
    tokens: Int[Tensor, "batch time"] | None = None,
    batch: int = 64,
    length: int = 64,
    readings: int = 16,
    penalty: float = 1e-2,
    batch_size: int = 16,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Accuracy with which a linear reader names the token `lag` tokens back, a layer and lag.

    Random tokens of a small alphabet are read, so that nothing but memory tells an earlier one. A ridge regression to
    one-hot tokens is fitted on the first half of the sequences and scored on the second.

    Args:
        lags: tokens back; 0 is the token just read.
        at, layers: one hook of each layer, as in `workbench.probes.linear.places`: ``"resid_post"`` (the stream after a
            block), ``"mixer.hook_out"`` (what the mixers write), ``"state"`` (recurrent states, flattened), ...
            Without `layers`, those without one are left out.
        symbols: size of the alphabet; chance is one over it.
        tokens: sequences of your own in place of random ones; the classes are the tokens in them.
        batch: sequences; half of them are for fitting.
        length: tokens a sequence; longer than the longest lag.
        readings: positions of each sequence that are read, the last ones.
        penalty: of the ridge, as a share of the mean squared feature.
        batch_size: sequences a forward pass.
        seed: of the tokens.
        level: coverage of the intervals, a bootstrap over held-out sequences.

    Returns:
        One row a layer and lag: ``layer``, ``lag``, ``accuracy`` with ``low`` and ``high``, ``chance`` (share of the
        commonest token held out).

    Raises:
        InputError: a number out of range, or several hooks of one layer.
        HookNameError: no layer has the hook, as where there is no state.
    """
    read = places(model, at, layers)
    twice = next((one for one in read if [other.layer for other in read].count(one.layer) > 1), None)
    if twice is not None or any(one.layer is None for one in read):
        raise InputError("Memory is compared layer by layer: name one hook of each, inside the blocks.")
    if tokens is None:
        tokens = _random_tokens(model, symbols, batch, length, seed)
    rows, time = tokens.shape
    lagged = [int(lag) for lag in lags]
    if rows < 4 or readings < 1 or batch_size < 1 or penalty <= 0:
        raise InputError("At least 4 sequences, 1 reading, a batch size of 1 and a penalty above 0 are needed.")
    if not lagged or min(lagged) < 0 or max(lagged) + readings > time:
        raise InputError(f"{readings} readings at lags up to {max(lagged, default=0)} do not fit into {time} tokens.")
    kinds, classes = tokens.cpu().unique(return_inverse=True)
    positions = list(range(time - readings, time))
    parts = [_features(model, part, read, positions) for part in tokens.split(batch_size)]
    half = rows // 2
    table = []
    for layer in parts[0]:
        features = torch.cat([part[layer] for part in parts]).double()
        targets = torch.stack([classes[:, [position - lag for position in positions]] for lag in lagged], dim=2)
        predicted = ridge_classes(features[:half], targets[:half], features[half:], len(kinds), penalty)
        for lag, guess, target in zip(lagged, predicted.unbind(2), targets[half:].unbind(2), strict=True):
            found = bootstrap_mean((guess == target).double().mean(1), level=level)
            commonest = float(target.flatten().bincount().max() / target.numel())
            table.append(
                {
                    "layer": layer,
                    "lag": lag,
                    "accuracy": found.mean,
                    "low": found.low,
                    "high": found.high,
                    "chance": commonest,
                }
            )
    return pd.DataFrame(table)


def ridge_classes(
    features: Float[Tensor, "rows readings dim"],
    labels: Int[Tensor, "rows readings targets"],
    held_out: Float[Tensor, "others readings dim"],
    classes: int,
    penalty: float,
) -> Int[Tensor, "others readings targets"]:
    """Classes of held-out features by ridge regression to one-hot labels, in closed form, for several sets of labels.

    Solved once for all of them, in whichever of features and samples is smaller, so that states of many thousand
    numbers are no harder than as many samples.
    """
    flat, other = features.flatten(0, 1), held_out.flatten(0, 1)
    mean = flat.mean(0)
    scale = (flat - mean).std(0, unbiased=False)
    # A constant feature tells nothing; division by its deviation would make noise of rounding.
    scale = torch.where(scale > 1e-12 * scale.max().clamp_min(1e-300), scale, torch.inf)
    flat, other = (flat - mean) / scale, (other - mean) / scale
    wanted = torch.nn.functional.one_hot(labels.flatten(0, 1), classes).to(flat).flatten(1)
    centre = wanted.mean(0)
    samples, dim = flat.shape
    amount = penalty * samples
    if dim <= samples:
        gram = flat.T @ flat
        weights = torch.linalg.solve(gram + amount * torch.eye(dim).to(gram), flat.T @ (wanted - centre))
    else:
        gram = flat @ flat.T
        weights = flat.T @ torch.linalg.solve(gram + amount * torch.eye(samples).to(gram), wanted - centre)
    predicted: Tensor = (other @ weights + centre).unflatten(1, (-1, classes)).argmax(-1)
    shaped: Tensor = predicted.unflatten(0, held_out.shape[:2])
    return shaped


def _random_tokens(model: HookedModel, symbols: int, batch: int, length: int, seed: int) -> Int[Tensor, "batch length"]:
    allowed = Vocabulary.of(model).plain()
    if not 2 <= symbols <= len(allowed) or batch < 1 or length < 1:
        raise InputError(f"An alphabet has 2 to {len(allowed)} symbols, and batch and length are at least 1.")
    generator = torch.Generator().manual_seed(seed)
    alphabet = allowed[torch.randperm(len(allowed), generator=generator)[:symbols]]
    return alphabet[torch.randint(symbols, (batch, length), generator=generator)]


def _features(
    model: HookedModel, tokens: Int[Tensor, "batch time"], read: list[Place], positions: list[int]
) -> dict[int, Float[Tensor, "batch readings dim"]]:
    """What is read at the positions, by layer, on the CPU."""
    seen: dict[int, list[Tensor]] = {}
    heads_of = {place.name: place.heads for place in read}

    def keep(tensor: Tensor, hook: HookPoint) -> None:
        found = tensor.detach() if hook.step is not None else tensor.detach()[:, positions]
        heads = heads_of[hook.name]
        if heads is not None:
            found = found.index_select(1 if hook.per_step else 2, torch.tensor(heads, device=found.device))
        if hook.step is None:
            seen[hook.layer()] = [found.flatten(2).cpu()]
        else:
            seen.setdefault(hook.layer(), []).append(found.flatten(1).cpu())

    hooks: list[tuple[NamesFilter, HookFunction]] = [
        (place.name, at_steps(keep, set(positions)) if model.points[place.name].per_step else keep) for place in read
    ]
    model.run_with_hooks(tokens, fwd_hooks=hooks, return_type=None)
    steps = {place.layer: model.points[place.name].per_step for place in read}
    return {layer: torch.stack(found, dim=1) if steps[layer] else found[0] for layer, found in sorted(seen.items())}
