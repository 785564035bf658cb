"""What the features of a text are: an autoencoder's activations at every token that it reads."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.hooks import HookFunction, HookPoint
from workbench.model import HookedModel
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.site import VectorSite
from workbench.wrapping import Mask, ModelInput


@torch.no_grad()
def read_features(
    model: HookedModel,
    sae: SparseAutoencoder,
    text: ModelInput,
    attention_mask: Mask = None,
    *,
    site: VectorSite | None = None,
    hooks: list[tuple[str, HookFunction]] | None = None,
) -> Float[Tensor, "batch positions d_sae"]:
    """Feature activations of texts, one row a token that the autoencoder reads (see `VectorSite.positions`).

    Args:
        text: texts or tokens.
        attention_mask: 1 or True at tokens, 0 at padding, whose features are in the result like the others.
        site: where to read, if not where the autoencoder's file says.
        hooks: what else is hooked into the run, such as the hooks of an edit at an earlier layer.

    Raises:
        InputError: the autoencoder does not fit the model, or the text is shorter than it takes to read one token.
    """
    place = sae.site(model) if site is None else site
    tokens, mask = model.prepared(text, attention_mask)
    place.check_long_enough(tokens.shape[1])
    seen: list[Tensor] = []

    def keep(vectors: Tensor, hook: HookPoint) -> None:
        seen.append(sae.encode(vectors))

    reader = place.reader(model, keep)
    model.run_with_hooks(tokens, fwd_hooks=[*(hooks or ()), reader], attention_mask=mask, return_type=None)
    return torch.stack(seen, 1) if model.points[place.hook].per_step else seen[0]
