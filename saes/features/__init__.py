"""Features of a sparse autoencoder as people read them: where each fires, what it writes, what it is called."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.saes.features.collecting import collect_features as collect_features
    from workbench.saes.features.example import Example as Example
    from workbench.saes.features.labels import Label as Label
    from workbench.saes.features.labels import LabelStore as LabelStore
    from workbench.saes.features.listing import FeatureQuery as FeatureQuery
    from workbench.saes.features.store import FeatureStore as FeatureStore

_MODULES = {
    "collect_features": "collecting",
    "Example": "example",
    "Label": "labels",
    "LabelStore": "labels",
    "FeatureQuery": "listing",
    "FeatureStore": "store",
}


def __getattr__(name: str) -> Any:
    # A store is read without what it takes to make one.
    if name not in _MODULES:
        raise AttributeError(f"workbench.saes.features has no public name {name!r}; it has {', '.join(_MODULES)}.")
    return getattr(import_module(f"workbench.saes.features.{_MODULES[name]}"), name)
