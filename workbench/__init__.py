"""A mechanistic-interpretability workbench for attention, state-space and recurrent language models.

Everything public is reachable from here, as ``import workbench as wb``, and nothing is imported before it is asked
for: ``import workbench`` alone loads neither torch nor any other dependency.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # What a type checker sees; PUBLIC is what runs. A test holds the two equal.
    from workbench import app as app
    from workbench import errors as errors
    from workbench import interventions as interventions
    from workbench import kernels as kernels
    from workbench import probes as probes
    from workbench import saes as saes
    from workbench import tasks as tasks
    from workbench.attention import ImplicitAttention as ImplicitAttention
    from workbench.cache import ActivationCache as ActivationCache
    from workbench.hooks import HookPoint as HookPoint
    from workbench.interventions import Ablate as Ablate
    from workbench.knockout import Knockout as Knockout
    from workbench.loading import load as load
    from workbench.model import HookedModel as HookedModel
    from workbench.sites import Site as Site
    from workbench.states import ModelState as ModelState
    from workbench.steps import at_steps as at_steps

__version__ = "0.1.0.dev0"

# Public name -> the module that defines it. A name equal to the last part of its module is the module itself.
PUBLIC = {
    "Ablate": "workbench.interventions",
    "ActivationCache": "workbench.cache",
    "HookPoint": "workbench.hooks",
    "HookedModel": "workbench.model",
    "ImplicitAttention": "workbench.attention",
    "Knockout": "workbench.knockout",
    "ModelState": "workbench.states",
    "Site": "workbench.sites",
    "app": "workbench.app",
    "at_steps": "workbench.steps",
    "errors": "workbench.errors",
    "interventions": "workbench.interventions",
    "kernels": "workbench.kernels",
    "load": "workbench.loading",
    "probes": "workbench.probes",
    "saes": "workbench.saes",
    "tasks": "workbench.tasks",
}


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"workbench has no public name {name!r}; it has {', '.join(sorted(PUBLIC))}.")
    module = import_module(PUBLIC[name])
    value = module if module.__name__ == f"workbench.{name}" else getattr(module, name)
    globals()[name] = value  # the second look-up no longer comes here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
