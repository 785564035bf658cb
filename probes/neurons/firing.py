"""How often units fire, and at what: dead, positional and n-gram units (Voita et al. 2023, arXiv:2309.04827)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.linear.places import At, Place
from workbench.probes.neurons.corpus import Corpus
from workbench.probes.neurons.ngrams import NgramCounts
from workbench.probes.neurons.streaming import stream_units, unit_places
from workbench.tasks.intervals import bootstrap_means

FIRES = ("above", "beyond")


@dataclass(frozen=True, eq=False)
class NeuronStatistics:
    """What a corpus made the units of some hooks do.

    Attributes:
        corpus: what was read.
        places: the hooks, in order.
        threshold, fires: when a unit counts as firing.
        by_window: per hook, the share of tokens of each window at which each unit fired.
        by_position: per hook, the share of windows in which each unit fired at each position.
        ngrams: per hook, for each n that was asked for, how often each unit fired at which n-gram.
    """

    corpus: Corpus
    places: list[Place]
    threshold: float
    fires: str
    by_window: dict[str, Float[Tensor, "windows units"]]
    by_position: dict[str, Float[Tensor, "time units"]]
    ngrams: dict[str, dict[int, NgramCounts]]

    def position_information(self, name: str) -> tuple[Float[np.ndarray, " units"], Float[np.ndarray, " units"]]:
        """Mutual information of firing and position in bits (section 5 of the paper), and what chance explains of it.

        A unit that knows nothing of positions does not have 0, because every position is seen in a few windows only.
        What such a unit of the same frequency has on average is taken off, so that it scatters around 0; the second
        array is the 95 % quantile of that scatter.
        """
        rates = self.by_position[name].double().numpy()
        found, frequency = _information(rates), rates.mean(axis=0)
        at, mean, high = _information_by_chance(len(self.corpus.tokens), len(rates))
        own = np.minimum(frequency, 1 - frequency)  # not to fire is as rare an event for one that mostly does
        chance = np.interp(own, at, mean)
        return found - chance, np.interp(own, at, high) - chance

    def table(self, model: HookedModel, *, cover: float = 0.95, few: int = 5, level: float = 0.95) -> pd.DataFrame:
        """One row a unit.

        Columns are ``hook``, ``layer``, ``unit``; ``frequency`` (share of tokens at which it fires) with its interval
        over windows ``low`` and ``high``; ``dead`` (it never fires); ``position_information`` and ``position_null``
        (bits, see there); and for each n: ``covering_n`` (how many different n-grams `cover` of its firings take),
        ``ngram_n`` (the one it fires at most often), ``share_n`` (that one's share of its firings), ``rate_n`` (how
        often it fires where that one is) and ``detects_n`` (at most `few` cover it, and fewer than by chance).

        Raises:
            InputError: `cover` outside 0 to 1.
        """
        if not 0 < cover <= 1:
            raise InputError(f"cover is {cover}; a share of the firings between 0 and 1 is needed, such as 0.95.")
        frames = []
        for place in self.places:
            frequency = bootstrap_means(self.by_window[place.name], level=level, units="windows of text")
            information, by_chance = self.position_information(place.name)
            columns: dict[str, object] = {
                "hook": place.name,
                "layer": -1 if place.layer is None else place.layer,
                "unit": np.arange(len(frequency.mean)),
                "frequency": frequency.mean.numpy(),
                "low": frequency.low.numpy(),
                "high": frequency.high.numpy(),
                "dead": frequency.mean.numpy() == 0,
                "position_information": information,
                "position_null": by_chance,
            }
            for counts in self.ngrams[place.name].values():
                columns |= counts.columns(model, cover, few)
            frames.append(pd.DataFrame(columns))
        return pd.concat(frames, ignore_index=True)


@checked_call
def neuron_statistics(
    model: HookedModel,
    corpus: Corpus,
    at: At = "mlp.hook_post",
    layers: Sequence[int] | int | None = None,
    *,
    threshold: float = 0.0,
    fires: str = "above",
    ngrams: Sequence[int] = (1,),
    batch: int = 8,
    most_bytes: int = 2 * 2**30,
    progress: bool = False,
) -> NeuronStatistics:
    """Firing frequency, dependence on position and n-grams of every unit, in one pass over a corpus.

    Args:
        at, layers: as in `workbench.probes.linear.places`; ``"mlp.hook_post"`` for the neurons of MLPs; the channels of
            any mixer with ``"mixer.hook_head_out"`` (an LSTM's hidden units; its cells are ``"mixer.hook_z"``).
        threshold: a unit fires where its value is above it (``fires="above"``: neurons behind a ReLU) or its absolute
            value is (``"beyond"``: units of either sign, such as those of a gated MLP, and channels).
        ngrams: lengths of the n-grams that end at the token at which the unit fires.
        most_bytes: what the counts of n-grams may take.

    Raises:
        InputError: the counts would take more than that; a hook without a time axis; an option out of range.
    """
    if fires not in FIRES:
        raise InputError(f"fires is {fires!r}; it must be one of 'above', 'beyond'.")
    lengths = list(ngrams)
    time = corpus.counted.shape[1]
    if len(set(lengths)) < len(lengths) or not all(1 <= n <= time for n in lengths):
        raise InputError(f"n-grams have a length from 1 to {time} (a window), each given once; got {lengths}.")
    found = unit_places(model, at, layers)
    kinds = {n: _numbered(corpus.counted, n) for n in lengths}
    windows: dict[str, list[Tensor]] = {place.name: [] for place in found}
    positions: dict[str, Tensor] = {}
    counts: dict[str, dict[int, NgramCounts]] = {}
    for part, values in stream_units(model, corpus, [place.name for place in found], batch, progress):
        for name, raw in values.items():
            fired = (raw if fires == "above" else raw.abs()) > threshold
            if name not in counts:
                units = raw.shape[2]
                needed = 4 * len(found) * units * sum(len(grams) for grams, _ in kinds.values())
                if needed > most_bytes:
                    raise InputError(
                        f"Counting the n-grams of {len(found)} hooks takes about {needed / 2**30:.1f} GiB, and "
                        f"{most_bytes / 2**30:.1f} are allowed; take fewer layers, shorter n-grams or less text."
                    )
                positions[name] = torch.zeros(time, units)
                counts[name] = {n: NgramCounts.empty(grams, numbers, units) for n, (grams, numbers) in kinds.items()}
            whole = fired.float()
            windows[name].append(whole.mean(1))
            positions[name] += whole.sum(0)
            for n, counted in counts[name].items():
                counted.add(kinds[n][1][part], whole[:, n - 1 :])
    total = len(corpus.tokens)
    return NeuronStatistics(
        corpus,
        found,
        threshold,
        fires,
        {name: torch.cat(rows) for name, rows in windows.items()},
        {name: rows / total for name, rows in positions.items()},
        counts,
    )


def _numbered(tokens: Int[Tensor, "windows time"], n: int) -> tuple[Int[Tensor, "grams n"], Int[Tensor, "windows end"]]:
    """The different n-grams of a corpus, and the number of the one that ends at each token from the n-th on."""
    grams, numbers = tokens.unfold(1, n, 1).reshape(-1, n).unique(dim=0, return_inverse=True)
    return grams, numbers.reshape(len(tokens), -1)


def _information(rates: Float[np.ndarray, "time ..."]) -> Float[np.ndarray, "*units"]:
    """Bits that firing and position share, all positions being equally frequent."""
    overall = rates.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(p > 0, p * np.log2(p / q), 0.0) for p, q in ((rates, overall), (1 - rates, 1 - overall))]
    found: Float[np.ndarray, "*units"] = (parts[0] + parts[1]).mean(axis=0)
    return found


def _information_by_chance(
    windows: int, time: int, draws: int = 200
) -> tuple[Float[np.ndarray, " grid"], Float[np.ndarray, " grid"], Float[np.ndarray, " grid"]]:
    """Frequencies, and mean and 95 % quantile of the information that units have that fire at random so often."""
    # From a single firing in the corpus to every second token.
    grid = np.geomspace(1 / (windows * time), 0.5, 24)
    generator = np.random.default_rng(0)
    found = [_information(generator.binomial(windows, frequency, size=(time, draws)) / windows) for frequency in grid]
    never = np.zeros(1)
    mean, high = ([values.mean() for values in found], [float(np.quantile(values, 0.95)) for values in found])
    return np.concatenate([never, grid]), np.concatenate([never, mean]), np.concatenate([never, high])
