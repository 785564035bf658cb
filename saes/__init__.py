"""Sparse autoencoders: activations, training, features, steering and comparison."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.saes.autoencoder import SaeConfig as SaeConfig
    from workbench.saes.autoencoder import SparseAutoencoder as SparseAutoencoder
    from workbench.saes.files import KeyMap as KeyMap
    from workbench.saes.files import load_sae as load_sae
    from workbench.saes.files import save_sae as save_sae
    from workbench.saes.site import VectorSite as VectorSite
    from workbench.saes.splice import Splice as Splice
    from workbench.saes.using import FeatureEdit as FeatureEdit
    from workbench.saes.using import read_features as read_features

# Public name -> the module that defines it: nothing is imported before it is asked for.
PUBLIC = {
    "KeyMap": "workbench.saes.files",
    "FeatureEdit": "workbench.saes.using",
    "SaeConfig": "workbench.saes.autoencoder",
    "SparseAutoencoder": "workbench.saes.autoencoder",
    "Splice": "workbench.saes.splice",
    "VectorSite": "workbench.saes.site",
    "load_sae": "workbench.saes.files",
    "save_sae": "workbench.saes.files",
    "read_features": "workbench.saes.using",
}


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"workbench.saes has no public name {name!r}; it has {', '.join(sorted(PUBLIC))}.")
    value = getattr(import_module(PUBLIC[name]), name)
    globals()[name] = value  # the second look-up no longer comes here
    return value


def __dir__() -> list[str]:
    return sorted(PUBLIC)
