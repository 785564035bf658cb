"""Small autoencoders with known weights, at any hook of any model."""

import functools

import torch

import workbench as wb
from workbench.model import HookedModel
from workbench.saes import SaeConfig, SparseAutoencoder, VectorSite
from workbench.saes.autoencoder import weight_shapes

TEXT = "The meeting began at noon, and nobody was late."


@functools.cache
def zoo(name: str) -> HookedModel:
    return wb.load(f"zoo:{name}", dtype=torch.float64)


def random_sae(
    model: HookedModel, hook: str, architecture: str = "standard", d_sae: int = 24, seed: int = 0, **options
):
    """Random weights of about the activations' size, so that some features fire and some do not."""
    hook = model.points[hook].name
    read = {key: options[key] for key in ("head", "every") if key in options}
    width = VectorSite.of(model, hook, **read).width(model)
    if "transcoder" in architecture:
        options["d_out"] = width
    cfg = SaeConfig(architecture, width, d_sae, hook=hook, model_name=model.cfg.model_name, **options)
    generator = torch.Generator().manual_seed(seed)
    return SparseAutoencoder(
        cfg,
        {
            name: torch.randn(shape, generator=generator, dtype=torch.float64) / 5
            for name, shape in weight_shapes(cfg).items()
        },
    )
