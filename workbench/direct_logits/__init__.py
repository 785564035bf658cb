"""Direct logit attribution: what each part of a model writes into the residual stream, and from there into a logit.

A cache has the stacks (`workbench.direct_logits.stacks`); `logit_parts`, which a model has as a method, asks the whole
question in one call.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.direct_logits.table import LogitParts as LogitParts
    from workbench.direct_logits.table import logit_parts as logit_parts

__all__ = ["LogitParts", "logit_parts"]


def __getattr__(name: str) -> Any:
    # Tables and figures load pandas and plotly, and every cache imports this package.
    if name not in __all__:
        raise AttributeError(f"workbench.direct_logits has no public name {name!r}; it has {', '.join(__all__)}.")
    from workbench.direct_logits import table

    return getattr(table, name)
