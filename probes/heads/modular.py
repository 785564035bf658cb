"""Mod-10 features: directions for "ends in 3" that ordinal tokens share, and successor heads read.

Gould et al. 2023 ("Successor Heads: Recurring, Interpretable Attention Heads In The Wild", arXiv:2312.09230, sections 3
and 4) find, in what the first MLP makes of ordinal tokens, features of the place in the class modulo 10: linear probes
read them, and a feature taken out and another put in moves the successor that a head predicts. They came upon the
features with a sparse autoencoder; here they are the least-squares answer to what it found, an additive model with a
direction a residue, beside an offset for every ten members of a class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.heads.options import Looking
from workbench.probes.heads.paths import DirectPath, direct_paths, token_directions, writing
from workbench.probes.heads.successor import OrdinalTokens, after_first_mlp, ordinal_tokens
from workbench.probes.linear.control import control_labels
from workbench.probes.linear.evaluation import ProbeResult, evaluate
from workbench.probes.linear.fitting import fit_probe
from workbench.probes.linear.probe import Probe
from workbench.sites import Site
from workbench.tasks import Vocabulary, bootstrap_means


@dataclass(frozen=True, eq=False)
class ModularFeatures:
    """An additive model of ordinal tokens: what the first MLP writes is an offset plus a direction of the residue.

    Attributes:
        modulus: of the places.
        classes: the ordinal tokens that it was fitted on.
        stream: what the first MLP wrote of each token alone, with or without its embedding (`after_first_mlp`), class
            after class.
        residues: place in the class, from 1, modulo `modulus`, of each token.
        features: the direction of each residue; they sum to 0. A residue that no token has is a row of zeros.
        fitted: what the additive model says of each token.
        explained: share of the squared deviation from the offsets that `features` explain; of unrelated vectors they
            would explain about `by_chance`.
        by_chance: the mean share with residues dealt out anew among the tokens.
        probe: how well a linear probe reads the residue of tokens that were held out, beside a control task; None where
            a residue has too few tokens to hold one out.
    """

    modulus: int
    classes: tuple[OrdinalTokens, ...]
    stream: Float[Tensor, "tokens model"]
    residues: Int[Tensor, " tokens"]
    features: Float[Tensor, "modulus model"]
    fitted: Float[Tensor, "tokens model"]
    explained: float
    by_chance: float
    probe: ProbeResult | None

    def __repr__(self) -> str:
        named = ", ".join(each.name for each in self.classes)
        return f"ModularFeatures(mod {self.modulus} of {len(self.stream)} tokens: {named})"

    def edited(self, to: Int[Tensor, " tokens"], scale: float = 1.0) -> Float[Tensor, "tokens model"]:
        """`stream` with each token's own feature exchanged for that of residue `to`."""
        change = self.features[to] - self.features[self.residues]
        return self.stream + scale * change


@checked_call
@torch.no_grad()
def modular_features(
    model: HookedModel,
    modulus: int = 10,
    *,
    classes: Sequence[OrdinalTokens] | None = None,
    draws: int = 100,
    folds: int = 5,
    seed: int = 0,
    embedding: bool = False,
) -> ModularFeatures:
    """Fit the features of the place modulo `modulus` to what the first MLP writes of ordinal tokens.

    The model of a token is ``offset[class, place // modulus] + feature[place % modulus]``, by least squares; offsets
    take up what members near each other share, so that the features are of what recurs.

    Args:
        classes: the ordinal tokens; by default `ORDINAL_CLASSES` as the model's tokenizer has them.
        draws: of residues that are dealt out anew, for `by_chance`.
        folds: parts of the tokens that are held out for the probe, a multinomial logistic regression on the stream.
        seed: of draws and folds.
        embedding: whether the embedding is part of what is fitted, as in `successor_heads`.

    Raises:
        InputError: no tokenizer, a modulus below 2, or one so large that no residue occurs twice.
    """
    known = Vocabulary.of(model)
    chosen = tuple(ordinal_tokens(known) if classes is None else classes)
    if modulus < 2:
        raise InputError(f"modulus is {modulus}; places are told apart modulo 2 at least.")
    if not chosen:
        raise InputError("classes is empty; at least one is needed.")
    places = torch.cat([torch.arange(1, len(each.tokens) + 1) for each in chosen])
    starts = [torch.full((len(each.tokens),), number) for number, each in enumerate(chosen)]
    decades = torch.cat(starts) * (len(places) + 1) + places // modulus
    residues = places % modulus
    if int(residues.bincount().max()) < 2:
        raise InputError(
            f"No two of the {len(places)} tokens have the same place modulo {modulus}; take a smaller one."
        )
    tokens = torch.cat([each.tokens for each in chosen]).to(known.device)
    stream = after_first_mlp(model, tokens, embedding).float()
    offsets = torch.nn.functional.one_hot(decades.unique(return_inverse=True)[1]).double()
    features, fitted, explained = _fit(stream, offsets, residues, modulus)
    generator = torch.Generator().manual_seed(seed)
    dealt = [residues[torch.randperm(len(residues), generator=generator)] for _ in range(draws)]
    chance = [_fit(stream, offsets, one, modulus)[2] for one in dealt]
    enough = int(residues.bincount(minlength=modulus)[residues].min()) >= 2
    probe = _probe(stream, residues, folds, seed) if enough else None
    return ModularFeatures(
        modulus, chosen, stream, residues, features, fitted, explained, sum(chance) / max(len(chance), 1), probe
    )


@checked_call
@torch.no_grad()
def edited_successors(
    model: HookedModel,
    features: ModularFeatures,
    *,
    layers: Sequence[int] | int | None = None,
    mixer: int | None = None,
    group: int = 1,
    scale: float = 1.0,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """What every head takes for the successor of a token whose residue was edited (section 4 of the paper).

    Each token's feature is exchanged for that of every other residue (`ModularFeatures.edited`) and goes down the
    head's direct path, as in `successor_heads`. A head that reads the features then ranks a token first that follows
    the new residue. The control exchanges random directions of the same length.

    Args:
        layers, mixer, group, level: as in `find_heads`.
        scale: factor on the exchanged features; heads may need more than 1 where the offset drowns them.
        seed: of the control's directions.

    Returns:
        One row a head, the most moved first: ``layer``, ``mixer``, ``head``, ``site``, ``successor`` (share of tokens
        whose successor is ranked first without an edit, of those that have one), ``moved`` (share of edits after which
        the token ranked first follows the new residue) with ``low`` and ``high`` over tokens, ``control`` (the same
        with random directions), ``exact`` (share of edits after which it is the one in the token's own ten, of those
        where there is one), ``scale`` and ``family``.

    Raises:
        InputError: as `find_heads`; UnsupportedFamilyError where a head's way to the logits is not linear.
    """
    found, looking = writing(model, Looking.at(model, layers, mixer, group, 0.95, level))
    tokens = torch.cat([each.tokens for each in features.classes]).to(features.stream.device)
    directions = token_directions(model, found, tokens)
    follows = _successors(features.classes)
    there = features.residues.unique().tolist()
    edits = [_Edit.of(features, residue) for residue in there]
    random = _random_like(features, seed)
    streams = [features.stream]
    for source, residue in product((features, random), there):
        streams.append(source.edited(torch.full_like(features.residues, residue), scale))
    rows: list[dict[str, object]] = []
    for path in direct_paths(model, torch.cat(streams), found, looking):
        plain, *edited = _best_within(path, directions, features.classes)
        successor = (plain == follows[:, None])[follows >= 0].double().mean(0)
        ours, others = edited[: len(edits)], edited[len(edits) :]
        by_token = torch.stack([edit.hits(best) for edit, best in zip(edits, ours, strict=True)]).nanmean(0)
        by_token = by_token[by_token.isfinite().all(-1)]
        control = torch.stack([edit.hits(best) for edit, best in zip(edits, others, strict=True)])
        exact = torch.stack([edit.exact_hits(best) for edit, best in zip(edits, ours, strict=True)])
        columns = {
            "successor": successor,
            **dict(zip(("moved", "low", "high"), bootstrap_means(by_token, level=level, units="tokens"), strict=True)),
            "control": control.nanmean((0, 1)),
            "exact": exact.nanmean((0, 1)),
        }
        adapter = path.adapter
        for row in range(looking.rows_of(adapter)):
            first = row * group
            rows.append(
                {
                    "layer": adapter.layer,
                    "mixer": adapter.index,
                    "head": first,
                    "site": str(Site.heads(adapter.layer, first, first + group, mixer=adapter.index)),
                    **{name: float(column[row]) for name, column in columns.items()},
                    "scale": scale,
                    "family": adapter.family,
                }
            )
    return pd.DataFrame(rows).sort_values("moved", ascending=False, kind="stable").reset_index(drop=True)


def _fit(
    stream: Float[Tensor, "tokens model"],
    offsets: Float[Tensor, "tokens decades"],
    residues: Int[Tensor, " tokens"],
    modulus: int,
) -> tuple[Float[Tensor, "modulus model"], Float[Tensor, "tokens model"], float]:
    """Features, the model's own account of the stream, and the share of what offsets leave that features explain."""
    wide = stream.double().cpu()
    indicator = torch.nn.functional.one_hot(residues, modulus).double()
    alone = wide - offsets @ torch.linalg.lstsq(offsets, wide, driver="gelsd").solution
    design = torch.cat([offsets, indicator], dim=1)
    solution = torch.linalg.lstsq(design, wide, driver="gelsd").solution
    fitted = design @ solution
    features = solution[offsets.shape[1] :]
    there = residues.unique()
    # Which part is an offset and which a feature is open up to a constant: the features that occur sum to 0.
    features[there] -= features[there].mean(0)
    left = (wide - fitted).square().sum() / alone.square().sum().clamp(min=1e-300)
    return features.to(stream), fitted.to(stream), float(1 - left)


def _probe(stream: Tensor, residues: Tensor, folds: int, seed: int) -> ProbeResult:
    values, labels = stream.cpu().numpy(), residues.numpy()
    # Each residue's tokens are dealt to the folds in turn, so that none is held out whole.
    turn = np.zeros(len(labels), dtype=np.int64)
    for residue in np.unique(labels):
        own = np.nonzero(labels == residue)[0]
        turn[own] = np.random.default_rng([seed, int(residue)]).permutation(len(own)) % folds
    parts = [(np.nonzero(turn != fold)[0], np.nonzero(turn == fold)[0]) for fold in np.unique(turn)]
    controls = control_labels(np.arange(len(labels)), labels, seed)

    def fit_to(wanted: np.ndarray) -> Callable[[np.ndarray], Probe]:
        return lambda train: fit_probe(values[train], wanted[train], "logistic", seed=seed)

    of_tokens = np.arange(len(labels))
    return evaluate(fit_to(labels), values, labels, of_tokens, parts, controls, fit_to(controls), seed=seed)


def _random_like(features: ModularFeatures, seed: int) -> ModularFeatures:
    """The same with random directions, each as long as the feature in its place."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(features.features.shape, generator=generator).to(features.features)
    lengths = features.features.norm(dim=-1, keepdim=True)
    return replace(features, features=drawn / drawn.norm(dim=-1, keepdim=True) * lengths)


@dataclass(frozen=True)
class _Edit:
    """What counts as moved when every token is given the residue `to`.

    Attributes:
        counts: whether the token has another residue and its class a successor of the new one.
        right: for each token, the members of its class that follow a member of residue `to`.
        exact: the one that follows the member of `to` in the token's own ten; -1 where there is none.
    """

    counts: Bool[Tensor, " tokens"]
    right: Bool[Tensor, "tokens outcomes"]
    exact: Int[Tensor, " tokens"]

    @classmethod
    def of(cls, features: ModularFeatures, to: int) -> _Edit:
        residues, follows, first = features.residues, _successors(features.classes), _starts(features.classes)
        count = len(residues)
        right = torch.zeros(count, count, dtype=torch.bool)
        exact = torch.full((count,), -1)
        for token in range(count):
            sources = (first == first[token]) & (residues == to) & (follows >= 0)
            right[token, follows[sources]] = True
            meant = token - int(residues[token]) + to
            if 0 <= meant < count and sources[meant]:
                exact[token] = follows[meant]
        return cls((residues != to) & right.any(-1), right, exact)

    def hits(self, best: Int[Tensor, "tokens rows"]) -> Float[Tensor, "tokens rows"]:
        """1 where the token ranked first follows the new residue, NaN where that does not count."""
        return torch.where(self.counts[:, None], self.right.gather(1, best).double(), torch.nan)

    def exact_hits(self, best: Int[Tensor, "tokens rows"]) -> Float[Tensor, "tokens rows"]:
        """1 where it is the one in the token's own ten."""
        there = (self.counts & (self.exact >= 0))[:, None]
        return torch.where(there, (best == self.exact[:, None]).double(), torch.nan)


def _best_within(
    path: DirectPath, directions: Float[Tensor, "tokens model"], classes: Sequence[OrdinalTokens]
) -> Int[Tensor, "streams tokens rows"]:
    """The token of its own class, counted through all classes, that each token's logits rank first."""
    first = _starts(classes).to(directions.device)
    apart = (first[:, None] != first[None, :])[:, None, :]
    best = [
        replace(path, values=values).logits(directions).masked_fill(apart, -torch.inf).argmax(-1).cpu()
        for values in path.values.split(len(directions))
    ]
    return torch.stack(best)


def _starts(classes: Sequence[OrdinalTokens]) -> Int[Tensor, " tokens"]:
    """For each token, how many stand before its class."""
    sizes = torch.tensor([len(each.tokens) for each in classes])
    return torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)


def _successors(classes: Sequence[OrdinalTokens]) -> Int[Tensor, " tokens"]:
    """For each token the one that follows it, counted through all classes; -1 for none."""
    follows = torch.cat([each.successor for each in classes])
    return torch.where(follows >= 0, follows + _starts(classes), -1)
