"""A list of rows, one of which is chosen: by a click, or with the arrow keys and Enter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from workbench.app.components.mounting import declare, mount
from workbench.figures.tokens import visible_text


def rows(
    shown: Sequence[tuple[int, Sequence[str]]],
    heads: Sequence[str],
    *,
    key: str,
    fingerprint: str,
    chose: Callable[[int], None],
    chosen: int | None = None,
    soft: Sequence[int] = (),
    label: str = "Choose one",
    height: int | None = None,
) -> None:
    """Draw the list.

    Args:
        shown: a number each, which `chose` is given, and the cells, which are plain text.
        heads: of the columns; the first column and the last are as narrow as they can be.
        key: of the component.
        fingerprint: of what is shown; clicks on an older list are ignored.
        chose: called with the number of the row, before the page is drawn again.
        chosen: the number of the row that is marked.
        soft: numbers of rows whose second cell is not a name but a hint, and fainter.
        label: what the list is, for screen readers.
        height: pixels after which it scrolls.
    """
    data = {
        "rows": [[number, [visible_text(cell) for cell in cells]] for number, cells in shown],
        "heads": list(heads),
        "chosen": chosen,
        "soft": list(soft),
        "label": label,
        "height": height,
        "fingerprint": fingerprint,
    }
    numbers = [number for number, _ in shown]
    mount(
        _component(),
        data,
        key=key,
        fingerprint=fingerprint,
        shape=(len(numbers),),
        keep=None,
        on_choose=lambda at: chose(numbers[at[0]]),
    )


@lru_cache(maxsize=1)
def _component() -> Any:
    return declare("rows", ())
