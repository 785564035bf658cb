"""What finders gather while they look: scores of every head, and what it would get at rival places."""

from __future__ import annotations

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.families.base import MixerAdapter
from workbench.probes.heads.options import Looking
from workbench.probes.heads.table import head_table


class Tally:
    """Scores by mixer as they come in, and at last the table of them all."""

    def __init__(self, looking: Looking) -> None:
        self.looking = looking
        self._scores: dict[MixerAdapter, list[Tensor]] = {adapter: [] for adapter in looking.wanted}
        self._rivals: dict[MixerAdapter, list[Tensor]] = {adapter: [] for adapter in looking.wanted}
        self._normalised: dict[MixerAdapter, str] = {}

    def add(
        self,
        adapter: MixerAdapter,
        scores: Float[Tensor, "units rows"],
        rivals: Float[Tensor, "draws rows"],
        normalise: str,
    ) -> None:
        """Scores of some more independent units, their mean at each rival place, and what they are shares of."""
        self._scores[adapter].append(scores)
        self._rivals[adapter].append(rivals)
        self._normalised[adapter] = normalise

    def table(self, kind: str, scope: str) -> pd.DataFrame:
        """One row a head; the rivals' scores are averaged over all that came in."""
        return head_table(
            row
            for adapter in self.looking.wanted
            for row in self.looking.rows(
                adapter,
                torch.cat(self._scores[adapter]),
                torch.stack(self._rivals[adapter]).mean(0),
                kind=kind,
                normalise=self._normalised[adapter],
                scope=scope,
            )
        )
