"""An autoencoder in the forward pass: its reconstruction in the place of what it read, features changed or not."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookFunction
from workbench.interventions import Intervention
from workbench.model import HookedModel
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.site import VectorSite
from workbench.wrapping import ModelInput

FeatureChange = Callable[[Float[Tensor, "*batch d_sae"]], Float[Tensor, "*batch d_sae"]]


class Splice(Intervention):
    """Put an autoencoder's reconstruction where it reads, or only the change that a change of its features makes.

    Args:
        sae: an autoencoder; of a transcoder the place that it predicts is rewritten.
        change: features to features; None leaves them as they are.
        keep_error: add what the autoencoder does not explain (Marks et al. 2024, arXiv:2403.19647, section 2), so that
            with no change nothing changes, to rounding. Without, what it does not explain is lost, and the loss that
            the model then has says how much that matters.
        site: where, when the file does not say, or another place than it was trained at.
        first: tokens at the start of a text that stay as they are, such as an attention sink.

    Raises:
        InputError: a `site` for a transcoder, which has two.
    """

    def __init__(
        self,
        sae: SparseAutoencoder,
        change: FeatureChange | None = None,
        *,
        keep_error: bool = False,
        site: VectorSite | None = None,
        first: int = 0,
    ) -> None:
        if site is not None and sae.cfg.transcodes:
            raise InputError("A transcoder reads one place and writes another; its file has to say which.")
        self.sae, self.change, self.keep_error, self.at, self.first = sae, change, keep_error, site, first

    def hooks(
        self, model: HookedModel, tokens: ModelInput | None = None, attention_mask: Tensor | None = None
    ) -> list[tuple[str, HookFunction]]:
        """See `Intervention.hooks`; what is generated is rewritten, too."""
        if not self.sae.cfg.transcodes:
            site = self.sae.site(model) if self.at is None else self.at
            return [site.editor_at(model, lambda vectors, at: self._rewritten(vectors, vectors, at))]
        source, target = self.sae.site(model), self.sae.site_out(model)
        read: list[Tensor] = []

        def note(vectors: Tensor) -> Tensor:
            read[:] = [vectors]
            return vectors

        return [
            source.editor(model, note),
            target.editor_at(model, lambda vectors, at: self._rewritten(read[0], vectors, at)),
        ]

    def changed(self, features: Float[Tensor, "*batch d_sae"], at: range) -> Float[Tensor, "*batch d_sae"]:
        """Features as they are after the change: what a splice whose change depends on the token writes anew.

        Args:
            features: ``[batch, positions, d_sae]``, of a state ``[batch, d_sae]``; the same tensor means no change.
            at: the positions, counted from the start of the text.
        """
        return features if self.change is None else self.change(features)

    def _rewritten(self, vectors: Tensor, there: Tensor, at: range) -> Tensor:
        """What stands in the place of `there` when the autoencoder read `vectors`."""
        left = sum(position < self.first for position in at)
        if left:
            # A state comes without an axis of positions, one of them at a time.
            if left == len(at):
                return there
            new = self._rewritten(vectors[:, left:], there[:, left:], at[left:])
            return torch.cat([there[:, :left], new], dim=1)
        features = self.sae.encode(vectors)
        changed = self.changed(features, at)
        if not self.keep_error:
            return self.sae.decode(changed, vectors).to(there.dtype)
        if changed is features:
            return there
        # The difference of two reconstructions, so that what neither explains stays to the last bit.
        return there + (self.sae.decode(changed, vectors) - self.sae.decode(features, vectors)).to(there.dtype)
