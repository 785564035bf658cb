"""Codebooks in the forward pass: in the place of what they read, with codes switched on or off."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookFunction
from workbench.interventions import Intervention
from workbench.model import HookedModel
from workbench.saes.codebook.codebook import Codebook
from workbench.saes.site import VectorSite
from workbench.wrapping import ModelInput


class Bottleneck(Intervention):
    """Let a model go on with what a codebook makes of its vectors (Tamkin et al. 2023, arXiv:2310.17230).

    Args:
        codebook: what they become.
        on: codes that every vector gets, in the place of its least similar ones: the paper's way to steer, section 5.
        off: codes that no vector gets.
        site: where, when the codebook does not say.

    Raises:
        InputError: codes that are not there, more of them on than a vector has, or too many off.
    """

    def __init__(
        self, codebook: Codebook, on: Sequence[int] = (), off: Sequence[int] = (), *, site: VectorSite | None = None
    ) -> None:
        count = len(codebook.codes)
        for code in (*on, *off):
            if not 0 <= code < count:
                raise InputError(f"There is no code {code}: this codebook has 0 to {count - 1}.")
        if len(set(on)) > codebook.k:
            raise InputError(f"{len(set(on))} codes are on; a vector has {codebook.k}.")
        if set(on) & set(off):
            raise InputError(f"Code {min(set(on) & set(off))} is both on and off.")
        if count - len(set(off)) < codebook.k:
            raise InputError(f"With {len(set(off))} of {count} codes off there are not {codebook.k} left for a vector.")
        self.codebook, self.at = codebook, site
        self.on, self.off = (torch.tensor(sorted(set(codes)), dtype=torch.long) for codes in (on, off))

    def hooks(
        self, model: HookedModel, tokens: ModelInput | None = None, attention_mask: Tensor | None = None
    ) -> list[tuple[str, HookFunction]]:
        """See `Intervention.hooks`; what is generated passes through the codes, too."""
        site = self.codebook.site(model) if self.at is None else self.at
        return [site.editor(model, lambda vectors: self.codebook(vectors, self.on, self.off))]
