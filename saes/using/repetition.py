"""Features of repetition: found on what is repeated, held up to make a model repeat, taken out to make it stop.

Yao et al. 2025 ("Understanding the Repeat Curse in Large Language Models from a Feature Perspective") and Xu et al.
2022 ("Learning to Break the Loop", arXiv:2206.02369), on any model: see `repetition_experiment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.site import VectorSite
from workbench.saes.using.reading import read_features
from workbench.tasks import bootstrap_means


@dataclass(frozen=True, eq=False)
class RepetitionFeatures:
    """How each feature tells a repetition from the same tokens said once.

    Attributes:
        excess: activation in the second copy less that on the same tokens, at the same positions, after other text,
            ``[sequences, d_sae]``, averaged over tokens.
        maxima: largest activation of each feature in all that was read.
        density: share of the tokens of the control text on which each fires.
        spread: pooled standard deviation of its activation over the tokens that are compared, the root of the mean of
            their variances with and without the repetition.
    """

    excess: Float[Tensor, "sequences d_sae"]
    maxima: Float[Tensor, " d_sae"]
    density: Float[Tensor, " d_sae"]
    spread: Float[Tensor, " d_sae"]

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """One row a feature that ever fired, the largest effect first.

        ``feature``, ``excess`` with ``low`` and ``high`` over sequences, ``effect_size`` (the excess in pooled
        standard deviations, `spread`: Cohen's d over tokens, 0 where a feature is the same with and without the
        repetition, small where it fires at a few tokens only), ``density``, ``max``.
        """
        alive = torch.nonzero(self.maxima > 0)[:, 0]
        some = self.excess[:, alive].double().cpu()
        mean, low, high = bootstrap_means(some, level=level)
        spread = self.spread[alive].double().cpu()
        found = pd.DataFrame(
            {
                "feature": alive.tolist(),
                "excess": mean,
                "low": low,
                "high": high,
                # Pooled, and not of the control text alone: a feature that the control text never fires would else
                # come first however seldom the repetition fires it.
                "effect_size": np.divide(mean, spread, out=np.zeros_like(mean), where=spread > 0),
                "density": self.density[alive].cpu(),
                "max": self.maxima[alive].double().cpu(),
            }
        )
        return found.sort_values("effect_size", ascending=False, kind="stable").reset_index(drop=True)

    def chosen(self, count: int) -> list[int]:
        """The features of the largest effect, of those whose excess lies above 0 with its whole interval.

        Raises:
            InputError: there is none.
        """
        table = self.table()
        above = table[table["low"] > 0]
        if above.empty:
            raise InputError("No feature fires more on repeated text than on the same text said once.")
        return [int(feature) for feature in above["feature"].head(count)]

    def matched(self, features: Sequence[int], seed: int) -> list[int]:
        """For each feature another of nearly its density, at random among the nearest eight, none of them `features`.

        Raises:
            InputError: too few other features ever fire.
        """
        generator = torch.Generator().manual_seed(seed)
        alive = (self.maxima > 0).cpu()
        alive[list(features)] = False
        density = self.density.double().cpu().clamp(min=1e-9).log()
        found: list[int] = []
        for feature in features:
            pool = torch.nonzero(alive)[:, 0]
            if not len(pool):
                raise InputError(f"There are no {len(features)} other features that fire, to compare with.")
            near = pool[(density[pool] - density[feature]).abs().argsort(stable=True)[:8]]
            one = int(near[int(torch.randint(len(near), (1,), generator=generator))])
            found.append(one)
            alive[one] = False
        return found


def find_repetition_features(
    model: HookedModel,
    sae: SparseAutoencoder,
    windows: Int[Tensor, "sequences length"],
    *,
    site: VectorSite | None = None,
    batch: int = 16,
    progress: bool = False,
) -> RepetitionFeatures:
    """Compare every feature on a text's second copy with the same text after another one.

    Each window ``A`` is read as ``A A`` and as ``B A``, with ``B`` the next window: the tokens that are compared, and
    their positions, are the same, and what differs is that they were there before.

    Args:
        windows: rows of tokens, of running text (`workbench.windows.text_windows`) or at random.

    Raises:
        InputError: fewer than two windows, or windows that do not fit twice into the model's context.
    """
    if len(windows) < 2:
        raise InputError("Repetition is compared with other text: two windows are the least.")
    length = windows.shape[1]
    others = windows.roll(-1, 0)
    place = sae.site(model) if site is None else site
    positions = torch.tensor(list(place.positions(2 * length)))
    second = positions >= length
    excess: list[Tensor] = []
    maxima = torch.zeros(sae.cfg.d_sae)
    fired = torch.zeros(sae.cfg.d_sae, dtype=torch.float64)
    # Of the second copies: repeated, and not.
    totals, squares = (torch.zeros(2, sae.cfg.d_sae, dtype=torch.float64) for _ in range(2))
    count = compared = 0
    starts = list(range(0, len(windows), batch))
    for start in tracked(starts, progress, "looking for repetition features"):
        rows, before = windows[start : start + batch], others[start : start + batch]
        repeated = read_features(model, sae, torch.cat([rows, rows], 1), site=place)
        control = read_features(model, sae, torch.cat([before, rows], 1), site=place)
        excess.append((repeated[:, second] - control[:, second]).mean(1).cpu())
        for features in (repeated, control):
            maxima = torch.maximum(maxima, features.flatten(0, 1).amax(0).float().cpu())
        fired += (control > 0).flatten(0, 1).sum(0).double().cpu()
        for side, features in enumerate((repeated[:, second], control[:, second])):
            tokens = features.flatten(0, 1).double().cpu()
            totals[side] += tokens.sum(0)
            squares[side] += tokens.square().sum(0)
        count += control.shape[0] * control.shape[1]
        compared += control.shape[0] * int(second.sum())
    variances = (squares / compared - (totals / compared).square()).clamp(min=0)
    return RepetitionFeatures(
        torch.cat(excess).float(), maxima, (fired / count).float(), variances.mean(0).sqrt().float()
    )


def windows_for(model: HookedModel, texts: Any, length: int, count: int) -> Int[Tensor, "sequences length"]:
    """Windows of running text, or, where that is None, of random tokens without a token twice.

    Raises:
        InputError: too little text.
    """
    if texts is None:
        from workbench.tasks import repeated_random_tokens

        return repeated_random_tokens(model, length, batch=count, seed=0, bos=False).tokens[:, :length]
    if isinstance(texts, Tensor):
        if texts.dim() != 2 or texts.shape[1] < length or len(texts) < count:
            raise InputError(f"{count} rows of {length} tokens are needed; these tokens are {[*texts.shape]}.")
        return texts[:count, :length]
    from workbench.windows import text_windows

    every = text_windows(model, texts, length)
    if len(every) < count:
        raise InputError(f"The text holds {len(every)} rows of {length} tokens, and {count} are needed.")
    # Evenly spread, so that neighbours are of different parts of the text.
    return every[torch.linspace(0, len(every) - 1, count).long()]
