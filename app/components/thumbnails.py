"""Small matrices beside each other; a click chooses one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from workbench.app.components.mounting import declare, framed, mount, palettes
from workbench.figures.levels import as_levels


def thumbnails(
    pixels: Float[np.ndarray, "many rows columns"],
    names: Sequence[str],
    notes: Sequence[str],
    *,
    key: str,
    fingerprint: str,
    signed: bool,
    label: str,
    chosen: int | None,
    on_choose: Callable[[int], None],
) -> None:
    """Draw causal matrices, each with a colour scale of its own, and what stands below each.

    Args:
        pixels: the matrices; what lies above the diagonal is left empty.
        names, notes: of each: a name, and a fainter line.
        key: of the component.
        fingerprint: of what is shown; clicks on an older picture are ignored.
        signed: whether entries may be negative.
        label: what they are, for screen readers.
        chosen: the one that is marked.
        on_choose: called with the number of the one that is clicked, before the page is drawn again.
    """
    _, rows, columns = pixels.shape
    later = np.triu(np.ones((rows, columns), dtype=bool), k=1)
    levels = [as_levels(one, signed=signed, masked=later).levels.tobytes() for one in pixels]
    header = {
        "rows": rows,
        "columns": columns,
        "names": list(names),
        "notes": list(notes),
        "label": label,
        "chosen": chosen,
        "fingerprint": fingerprint,
    }
    mount(
        _component(),
        framed(header, *palettes(signed), *levels),
        key=key,
        fingerprint=fingerprint,
        shape=(len(names),),
        keep=None,
        on_choose=lambda at: on_choose(at[0]),
    )


@lru_cache(maxsize=1)
def _component() -> Any:
    return declare("thumbnails", ())
