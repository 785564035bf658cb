"""A text as a strip of tokens: coloured by a number each, walked through by keys, clicked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from workbench.app.components.kept import kept
from workbench.app.components.mounting import declare, mount
from workbench.errors import InputError
from workbench.figures.colours import is_signed, signed_limit, unsigned_limit
from workbench.figures.tokens import visible_token

PAGE = 512
"""Tokens shown at once; the others are a page away, under a ribbon that shows where the values lie."""


def token_strip(
    tokens: Sequence[str],
    values: Sequence[float] | Float[np.ndarray, " time"] | None = None,
    *,
    key: str,
    fingerprint: str = "",
    signed: bool | None = None,
    selected: int | None = None,
    ids: Sequence[int] | None = None,
    name: str = "value",
    limit: float | None = None,
    label: str = "The text, token by token",
    resting: str = "Choose a token: click it, or go there with the arrow keys and press Enter.",
    keep: str | None = None,
    on_choose: Callable[[int], None] | None = None,
) -> int | None:
    """Draw the strip; the token clicked in this run, or None.

    Positive values are vermillion, negative ones blue, both more opaque the larger they are; where values have signs
    the strong ones carry + and −, too. NaN stands for no value.

    Args:
        tokens: text of every token, unescaped.
        values: a number a token.
        key: of the component.
        fingerprint: of what is shown (model, prompt, layer, ...); clicks on an older picture are ignored.
        signed: whether + and − are written; None looks at the values.
        selected: the token that is marked; with `keep`, by default the one in the link.
        ids: token ids, read out.
        name: what a value is, read out.
        limit: the size that is fully coloured; by default the values' own.
        label: what the strip is, for screen readers.
        resting: what stands below it while nothing is selected.
        keep: name of the selected token in the link (read it with `kept(keep, [len(tokens)])`).
        on_choose: called with a clicked token before the page is drawn again; it may set what controls show.

    Raises:
        InputError: there is not one value, or id, a token.
    """
    for what, numbers in (("values", values), ("ids", ids)):
        if numbers is not None and len(numbers) != len(tokens):
            raise InputError(f"There are {len(numbers)} {what} for {len(tokens)} tokens.")
    if selected is None and keep is not None:
        found = kept(keep, [len(tokens)])
        selected = None if found is None else found[0]
    clicked = mount(
        _component(),
        _data(tokens, values, fingerprint, signed, selected, ids, limit)
        | {"name": name, "label": label, "resting": resting},
        key=key,
        fingerprint=fingerprint,
        shape=(len(tokens),),
        keep=keep,
        on_choose=None if on_choose is None else lambda at: on_choose(at[0]),
    )
    return None if clicked is None else clicked[0]


def _data(
    tokens: Sequence[str],
    values: Sequence[float] | Float[np.ndarray, " time"] | None,
    fingerprint: str,
    signed: bool | None,
    selected: int | None,
    ids: Sequence[int] | None,
    limit: float | None,
) -> dict[str, Any]:
    numbers = None if values is None else np.asarray(values, dtype=np.float64)
    two = numbers is not None and (is_signed(numbers) if signed is None else signed)
    if limit is None:
        limit = 1.0 if numbers is None else (signed_limit(numbers)[0] if two else unsigned_limit(numbers))
    shown = [visible_token(token) for token in tokens]
    return {
        "tokens": shown,
        "breaks": ["\n" in token for token in tokens],
        # What Python calls it, where that says more than the picture does.
        "reprs": [
            None if repr(raw)[1:-1].replace(" ", "·") == text else repr(raw)
            for raw, text in zip(tokens, shown, strict=True)
        ],
        "ids": None if ids is None else [int(token) for token in ids],
        "values": None if numbers is None else [float(n) if np.isfinite(n) else None for n in numbers],
        "most": limit,
        "signed": bool(two),
        "selected": selected,
        "page": PAGE,
        "fingerprint": fingerprint,
    }


@lru_cache(maxsize=1)
def _component() -> Any:
    return declare("strip", ("strip",))
