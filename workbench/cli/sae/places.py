"""The place that options name: one vector a token, at a hook of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from workbench.model import HookedModel
    from workbench.saes import VectorSite

SiteHead = Annotated[int | None, typer.Option("--head", min=0, help="One head of a hook that has heads.")]
Every = Annotated[int, typer.Option("--every", min=1, help="Read one token in so many (states).")]
FIRST = "Tokens at the start of a row that do not count."


def site_of(model: HookedModel, hook: str, layer: int, head: int | None, every: int) -> VectorSite:
    """The site of a hook of a layer. Raises HookNameError and InputError as `VectorSite.of` does."""
    from workbench.probes.linear import places
    from workbench.saes import VectorSite

    return VectorSite.of(model, places(model, hook, [layer])[0].name, head=head, every=every)
