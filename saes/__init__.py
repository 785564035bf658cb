"""Sparse autoencoders: activations, training, features, steering and comparison."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.saes.autoencoder import SaeConfig as SaeConfig
    from workbench.saes.autoencoder import SparseAutoencoder as SparseAutoencoder
    from workbench.saes.site import VectorSite as VectorSite
    from workbench.saes.splice import Splice as Splice

# Public name -> the module that defines it: nothing is imported before it is asked for.
PUBLIC = {
    "SaeConfig": "workbench.saes.autoencoder",
    "SparseAutoencoder": "workbench.saes.autoencoder",
    "Splice": "workbench.saes.splice",
    "VectorSite": "workbench.saes.site",
}


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"workbench.saes has no public name {name!r}; it has {', '.join(sorted(PUBLIC))}.")
    value = getattr(import_module(PUBLIC[name]), name)
    globals()[name] = value  # the second look-up no longer comes here
    return value


def __dir__() -> list[str]:
    return sorted(PUBLIC)
