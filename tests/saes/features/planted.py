"""A small model's vectors, an autoencoder made by hand for them, and what it does, worked out without the store."""

import numpy as np
import torch

from workbench.saes import SaeConfig, SparseAutoencoder, VectorSite
from workbench.saes.autoencoder import weight_shapes

HOOK = "blocks.2.hook_resid_post"
TEXTS = [
    "The committee met at noon. Nobody was late, and the chairman read the minutes of the last meeting aloud. " * 6,
    "<b>Water</b> boils at one hundred degrees; ice melts at zero. The quick brown fox jumps over the lazy dog. " * 5,
    "שלום עולם and العالم are words. Numbers such as 1, 22 and 333 follow each other.\n\n\tA tab began this line. " * 4,
]


def handmade(model, architecture="topk", d_sae=200, hook=HOOK, **options):
    """Random directions, so scaled that features fire at some tokens; the first three never do."""
    width = VectorSite.of(model, hook, every=options.get("every", 1)).width(model)
    cfg = SaeConfig(architecture, width, d_sae, hook=hook, model_name=model.cfg.model_name, **options)
    generator = torch.Generator().manual_seed(3)
    weights = {name: torch.randn(shape, generator=generator) / 5 for name, shape in weight_shapes(cfg).items()}
    bias = "b_gate" if architecture == "gated" else "b_enc"
    weights[bias][:3] = -1e6
    if architecture != "topk":
        weights[bias][3:] -= 20
    return SparseAutoencoder(cfg, weights)


@torch.no_grad()
def dense(model, sae, store):
    """Every row's activations ``[length, d_sae]``, by the model and the autoencoder themselves."""
    site = sae.site(model)
    found = []
    for row in range(store.info.rows):
        ids = torch.tensor([store.row(row)[0]])
        seen = []
        model.run_with_hooks(ids, fwd_hooks=[site.reader(model, lambda x, hook, seen=seen: seen.append(x))])
        vectors = seen[0][0] if seen[0].dim() == 3 else torch.stack([one[0] for one in seen])
        full = np.zeros((ids.shape[1], sae.cfg.d_sae), dtype=np.float32)
        full[site.every - 1 :: site.every] = sae.encode(vectors).numpy()
        found.append(full)
    return found
