"""SAELens' TopK training classes with the decoder and all gradients computed on the kept features alone.

The loss and its gradients are SAELens' to rounding. Two of its terms need no work: where features count in units of
their decoder's norm (``rescale_acts_by_decoder_norm``), the norm multiplies on the way in and divides on the way out,
so it decides which features are kept and nothing else; and the gradient of the bias that is subtracted from the input
is the sum over vectors of a product, which is the product with the sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.saes.training.front import Front
from workbench.saes.training.sparse_code import Kept, decoded, largest, largest_of_batch, preactivations


class KeepsFew(Front):
    """Goes in front of ``TopKTrainingSAE`` or a class that derives from it, and answers in the same terms."""

    _kept: Kept
    _values: Tensor
    _centred: Tensor
    _features: Tensor | None = None

    def encode_with_hidden_pre(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``[batch, d_sae]`` as a sparse tensor off the graph, and the kept pre-activations."""
        x = self.run_time_activation_norm_fn_in(self.reshape_fn_in(x.to(self.dtype)))
        centre = self.b_dec if self.cfg.apply_b_dec_to_input else None
        scale = self.W_dec.detach().norm(dim=-1) if self.cfg.rescale_acts_by_decoder_norm else None
        centred = (x if centre is None else x - centre).detach()
        if self.cfg.architecture() == "topk":
            kept, values = largest(centred, self.W_enc, self.b_enc, scale, int(self.cfg.k))
        else:
            kept, values = largest_of_batch(centred, self.W_enc, self.b_enc, scale, int(self.cfg.k * len(x)))
        pre = preactivations(x, self.W_enc, self.b_enc, centre, kept, values)
        self._kept, self._values, self._centred = kept, pre.relu(), centred
        told = self._values if scale is None else self._values * scale[kept.features]
        self._features = kept.tensor(told)
        return self._features, pre

    def encode(self, x: Tensor) -> Tensor:
        """Features ``[batch, d_sae]``, dense."""
        return self.encode_with_hidden_pre(x)[0].to_dense()

    def decode(self, feature_acts: Tensor) -> Tensor:
        """The reconstruction; of the features that were encoded last, with gradients."""
        if feature_acts is not self._features:
            return super().decode(feature_acts)
        out = decoded(self._kept, self._values, self.W_dec) + self.b_dec
        return self.reshape_fn_out(self.run_time_activation_norm_fn_out(out), self.d_head)

    def calculate_topk_aux_loss(
        self, sae_in: Tensor, sae_out: Tensor, hidden_pre: Tensor, dead_neuron_mask: Tensor | None
    ) -> Tensor:
        """What the likeliest dead features leave of the residual (Gao et al. 2024, appendix A.2)."""
        del hidden_pre  # the kept ones' only
        if dead_neuron_mask is None:
            return sae_out.new_tensor(0.0)
        loss = self._revived(sae_in, sae_out, dead_neuron_mask, 0)
        return sae_out.new_tensor(0.0) if loss is None else float(self.cfg.aux_loss_coefficient) * loss

    def update_topk_threshold(self, acts_topk: Tensor) -> None:
        """See SAELens; of a sparse tensor the values are all it needs."""
        super().update_topk_threshold(acts_topk._values() if acts_topk.is_sparse else acts_topk)

    def _iterable_decode(self, feature_acts: Tensor, include_outer_loss: bool = False) -> Iterator[tuple[int, Tensor]]:
        """The reconstruction of every nested dictionary of a Matryoshka autoencoder, of the last encoded features."""
        del feature_acts
        cfg: Any = self.cfg
        below = 0
        out: Tensor = self.b_dec
        for width in cfg.matryoshka_widths if include_outer_loss else cfg.matryoshka_widths[:-1]:
            kept, chosen = self._kept.within(below, width)
            out = out + decoded(kept, self._values[chosen], self.W_dec[below:width])
            below = width
            yield width, self.run_time_activation_norm_fn_out(out)

    def calculate_matryoshka_aux_loss(
        self,
        sae_in: Tensor,
        sae_out: Tensor,
        feature_acts: Tensor,
        hidden_pre: Tensor,
        dead_neuron_mask: Tensor | None,
    ) -> Tensor:
        """The same for the dead features of every level, and what that level leaves."""
        del hidden_pre
        if dead_neuron_mask is None:
            return sae_out.new_tensor(0.0)
        below, losses = 0, []
        for width, out in self._iterable_decode(feature_acts, include_outer_loss=True):
            loss = self._revived(sae_in, out, dead_neuron_mask[below:width], below)
            losses += [] if loss is None else [loss]
            below = width
        total = sum(losses, sae_out.new_tensor(0.0))
        return float(self.cfg.aux_loss_coefficient) * total

    def _revived(self, target: Tensor, out: Tensor, dead: Tensor, first: int) -> Tensor | None:
        """The loss of the dead features, which `dead` tells from the `first` on; None where none is dead."""
        if self.cfg.normalize_activations in ("constant_norm_rescale", "layer_norm"):
            raise InputError("Dead features are revived in the space of the vectors; train without a normalisation.")
        which = dead.nonzero()[:, 0] + first
        if not len(which):
            return None
        half = max(target.shape[-1] // 2, 1)
        # Dense, on the dead ones alone: of these so many are wanted that picking them out would cost more.
        shift = self.b_dec - self.b_dec.detach() if self.cfg.apply_b_dec_to_input else 0
        pre = (self._centred - shift) @ self.W_enc[:, which] + self.b_enc[which]
        decoder = self.W_dec[which]
        with torch.no_grad():
            scored = pre * decoder.norm(dim=-1) if self.cfg.rescale_acts_by_decoder_norm else pre
            chosen = scored.topk(min(half, len(which)), dim=-1, sorted=False).indices
        active = torch.zeros_like(pre).scatter(-1, chosen, pre.gather(-1, chosen))
        told = self.reshape_fn_out(active @ decoder, self.d_head)
        return min(len(which) / half, 1.0) * (told - (target - out).detach()).pow(2).sum(-1).mean()
