"""Absorption of the letters that tokens begin with: what is known of every vocabulary without a download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.judging.absorption import ConceptAbsorption, absorption
from workbench.saes.judging.places import features_of, vectors_at
from workbench.saes.judging.reading import Source
from workbench.saes.judging.words import LETTERS, labelled_words, token_at
from workbench.saes.site import VectorSite
from workbench.tasks.intervals import bootstrap_means

if TYPE_CHECKING:
    import pandas as pd

ENOUGH = 6
"""Different tokens that a letter needs to be judged: they are held out whole."""


@dataclass(frozen=True, eq=False)
class LetterAbsorption:
    """Absorption letter by letter.

    Attributes:
        letters: by letter.
        tokens: text of each token that was read, by its id.
    """

    letters: dict[str, ConceptAbsorption]
    tokens: dict[int, str]

    def table(self, *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
        """One row a ``letter``, and a last one, ``all``, of the mean over letters' tokens.

        ``tokens``: different tokens that the probe got right. ``probe_f1``: of a linear probe on the vectors.
        ``features``, ``splits``: features that the letter is split into, and how many; ``f1`` of a probe on them.
        ``absorbed``: share of tokens where the letter is absorbed in full, and ``fraction``, counted in part; both with
        limits, which resample tokens.
        """
        import pandas as pd

        rows = [self._row(letter, [found], level, seed) for letter, found in self.letters.items()]
        rows.append(self._row("all", [*self.letters.values()], level, seed))
        return pd.DataFrame(rows)

    def cases(self) -> pd.DataFrame:
        """One row an occurrence that is absorbed in full: ``letter``, ``token``, the ``feature``, its ``share``."""
        import pandas as pd

        rows = [
            {
                "letter": letter,
                "token": self.tokens[int(found.groups[number])],
                "feature": int(found.absorber[number]),
                "share": float(found.share[number]),
            }
            for letter, found in self.letters.items()
            for number in np.nonzero(found.full)[0]
        ]
        return pd.DataFrame(rows, columns=["letter", "token", "feature", "share"])

    def _row(self, letter: str, found: Sequence[ConceptAbsorption], level: float, seed: int) -> dict[str, Any]:
        """Occurrences of a token are averaged before tokens are."""
        of_tokens = []
        for one in found:
            for group in np.unique(one.groups):
                here = one.groups == group
                of_tokens.append([float(one.full[here].mean()), float(one.fraction[here].mean())])
        row: dict[str, Any] = {
            "letter": letter,
            "tokens": len(of_tokens),
            "probe_f1": float(np.mean([one.probe_f1 for one in found])),
            "features": found[0].features if len(found) == 1 else None,
            "splits": float(np.mean([len(one.features) for one in found])),
            "f1": float(np.mean([one.f1 for one in found])),
        }
        values = torch.tensor(of_tokens, dtype=torch.float64).reshape(-1, 2)
        if len(values) < 2:
            nothing = torch.full((2,), float("nan"), dtype=torch.float64)
            mean, low, high = (values.mean(0) if len(values) else nothing), nothing, nothing
        else:
            mean, low, high = bootstrap_means(values, level=level, seed=seed, units="tokens")
        for number, name in enumerate(("absorbed", "fraction")):
            row |= {name: float(mean[number]), f"{name}_low": float(low[number]), f"{name}_high": float(high[number])}
        return row


def first_letter_absorption(
    model: HookedModel,
    sae: SparseAutoencoder,
    source: Source,
    *,
    letters: Sequence[str] | None = None,
    length: int = 64,
    windows: int | None = None,
    rows: int = 4000,
    site: VectorSite | None = None,
    batch: int = 16,
    seed: int = 0,
    progress: bool = False,
) -> LetterAbsorption:
    """Absorption of "begins with S" and its like, on the words of a text (Chanin et al. 2024, arXiv:2409.14507).

    The paper reads a word in a prompt that asks for its spelling; here it is read where it stands in text, so that
    models that cannot spell are judged by what a linear probe finds of the letter all the same (``probe_f1``).

    Args:
        source, length, windows: as in `judge_sae`.
        letters: which, all that begin at least `ENOUGH` different tokens by default.
        rows: occurrences of words to read at most.
        site: where, when the autoencoder's file does not say.
        progress: show progress bars.

    Raises:
        InputError: no such letter, or none with enough tokens; see `absorption` for the rest.
    """
    wrong = [letter for letter in letters or () if letter not in LETTERS]
    if wrong:
        raise InputError(f"{wrong[0]!r} is no letter from a to z.")
    data = labelled_words(model, source, "first_letter", length=length, windows=windows, rows=rows, seed=seed)
    at = sae.site(model) if site is None else site
    data, vectors = vectors_at(model, data, at, batch=batch, progress=progress)
    groups = token_at(data)
    different = {letter: len(np.unique(groups[data.labels == letter])) for letter in LETTERS}
    chosen = [one for one in (letters or LETTERS) if different[one] >= ENOUGH]
    if not chosen:
        raise InputError(f"No letter begins {ENOUGH} different tokens of this text; give more text.")
    features = features_of(sae, vectors)
    found = {
        letter: absorption(sae, vectors, data.labels == letter, groups, features=features, seed=seed)
        for letter in tracked(chosen, progress, "letters")
    }
    tokens = {int(token): str(model.tokens.needed().decode([int(token)])) for token in np.unique(groups)}
    return LetterAbsorption(found, tokens)
