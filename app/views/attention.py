"""How tokens read each other in one layer and head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from workbench.app.views.scripts import script
from workbench.model import HookedModel


@dataclass(frozen=True)
class HeadMatrix:
    """One head's matrix.

    Attributes:
        tokens: text of every token.
        values: rows read from columns.
        error: relative error of the matrix times the values against the layer's own output.
        signed: whether entries may be negative.
    """

    tokens: list[str]
    values: Float[np.ndarray, "time time"]
    error: float
    signed: bool


def head_matrix(model: HookedModel, prompt: str, layer: int, head: int) -> HeadMatrix:
    """The implicit or softmax attention of one head."""
    tokens = model.to_tokens(prompt)
    attention = model.implicit_attention(tokens, layer)
    values = attention.dense(heads=[head])[0, 0].detach().float().numpy()
    return HeadMatrix(list(model.to_str_tokens(tokens[0])), values, float(attention.check()), bool((values < 0).any()))


def head_matrix_code(model: str, prompt: str, layer: int, head: int) -> str:
    """Python for `head_matrix`."""
    return script(
        model,
        prompt,
        f"attention = model.implicit_attention(tokens, layer={layer})\n"
        f"values = attention.dense(heads=[{head}])[0, 0]  # [time, time]: rows read from columns\n"
        "print(attention.check())  # relative error against the layer's own output",
    )
