"""Running text as rows of tokens of one length: what lenses are trained on, and what memory is measured on."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.model import HookedModel


def beginning(model: HookedModel, bos: bool) -> list[int]:
    """The beginning-of-text token if windows begin with it. Raises InputError where the tokenizer has none."""
    first = model.tokens.needed().bos_token_id if bos else None
    if bos and first is None:
        raise InputError(f"The tokenizer of {model.cfg.model_name} has no beginning-of-text token to begin with.")
    return [] if first is None else [int(first)]


def cuts(tokens: int, width: int) -> range:
    """Where windows of a text of so many tokens begin; what fills no window at its end is left out."""
    return range(0, tokens - width + 1, width)


def spread_over(rows: int, most: int) -> list[int]:
    """Numbers of at most so many rows, evenly spread from the first to the last."""
    chosen: list[int] = torch.linspace(0, rows - 1, min(most, rows)).long().tolist()
    return chosen


@checked_call
def text_windows(
    model: HookedModel, texts: str | Iterable[str], length: int = 128, count: int | None = None, *, bos: bool = False
) -> Int[Tensor, "windows length"]:
    """Texts cut into rows of `length` tokens, in order, that do not overlap; none reaches from a text into the next.

    What is left at the end of a text and fills no row is left out.

    Args:
        texts: one text or several.
        length: tokens a row, the beginning-of-text token included.
        count: how many rows; None for all there are.
        bos: begin each row with the tokenizer's beginning-of-text token; most rows begin in mid-text.

    Raises:
        InputError: no tokenizer, no such token, a number out of range, a length that the model does not take, or too
            little text.
    """
    limit = model.cfg.n_ctx
    if length < 2 or (limit is not None and length > limit):
        most = "" if limit is None else f", and {model.cfg.model_name} takes at most {limit}"
        raise InputError(f"length is {length}; rows have at least 2 tokens{most}.")
    if count is not None and count < 1:
        raise InputError(f"count is {count}; at least one row is needed.")
    front = beginning(model, bos)
    body = length - len(front)

    def rows() -> Iterator[Tensor]:
        for text in [texts] if isinstance(texts, str) else texts:
            ids = model.tokens.encode(text, prepend_bos=False)[0][0].tolist() if text else []
            for start in cuts(len(ids), body):
                yield torch.tensor([*front, *ids[start : start + body]])

    found = list(islice(rows(), count))
    if not found or (count is not None and len(found) < count):
        wanted = "one is" if count is None else f"{count} are"
        raise InputError(f"The text holds {len(found)} rows of {length} tokens, and {wanted} needed.")
    return torch.stack(found)
