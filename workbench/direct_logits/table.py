"""Direct logit attribution as one table: which head, MLP or embedding put how much into an answer's logit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.model import HookedModel
    from workbench.wrapping import Mask, ModelInput


@dataclass(frozen=True)
class LogitParts:
    """What each part of a model put into one number a place: a logit, or a difference of two.

    Attributes:
        labels: the parts: ``"embed"``, heads as sites (``"L0H1"``), what a mixer writes besides (``"L0.mixer rest"``),
            ``"L0.mlp"``, and ``"bias"`` (of the final norm and the unembedding). Each layer's parts in its order.
        values: in logits.
        total: the number itself; the sum of the parts.
    """

    labels: list[str]
    values: Float[Tensor, "parts places"]
    total: Float[Tensor, " places"]

    def check(self) -> float:
        """How far the parts are from adding up, relative to the sum of their sizes; about 1e-6 in float32."""
        error = (self.values.sum(0) - self.total).abs()
        return float((error / self.values.abs().sum(0).clamp(min=1e-30)).max())

    def table(self, *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
        """One row a part, the largest mean first.

        Returns:
            ``site``, ``direct`` (logits, mean over places), its bootstrap interval over places ``low`` and ``high``
            (NaN for a single place), ``share`` of the mean total.
        """
        from workbench.tasks import bootstrap_means

        interval = bootstrap_means(self.values.double().cpu().T, level=level, seed=seed, units="places")
        table = pd.DataFrame(
            {
                "site": self.labels,
                "direct": interval.mean.numpy(),
                "low": interval.low.numpy(),
                "high": interval.high.numpy(),
                "share": (interval.mean / self.total.double().mean().cpu()).numpy(),
            }
        )
        return table.sort_values("direct", ascending=False, kind="stable").reset_index(drop=True)

    def figure(self, most: int = 30) -> go.Figure:
        """Bars of the parts with the largest absolute means, in the order of the model, with their intervals."""
        from workbench.figures.bars import error_bars
        from workbench.figures.maps import plain_layout

        table = self.table().set_index("site").loc[self.labels].reset_index()
        largest = table["direct"].abs().nlargest(most).index
        shown = table.loc[sorted(largest)]
        bars = go.Bar(
            x=shown["site"], y=shown["direct"], error_y=error_bars(shown["direct"], shown["low"], shown["high"])
        )
        figure = go.Figure(bars)
        figure.update_layout(yaxis_title="logit", xaxis={"automargin": True}, **plain_layout())
        return figure


@checked_call
@torch.no_grad()
def logit_parts(
    model: HookedModel,
    input: ModelInput,
    answer: int | str | Int[Tensor, "*shape"],
    incorrect: int | str | Int[Tensor, "*shape"] | None = None,
    *,
    position: int | Sequence[int] = -1,
    group: int = 1,
    attention_mask: Mask = None,
) -> LogitParts:
    """What every head, MLP and embedding writes into an answer's logit directly, past all later layers.

    The final norm's scale is held at what it was (direct logit attribution: Elhage et al. 2021; Wang et al. 2022,
    arXiv:2211.00593). Heads of softmax attention, of recurrent mixers and channels alike; a mixer's biases are a part
    of their own. The logit is taken before a soft cap.

    Args:
        input: text or tokens.
        answer: the token whose logit is explained; one, one a sequence, or one a sequence and listed position.
        incorrect: a token whose logit is taken off.
        position: where; several make a place each.
        group: neighbouring heads taken together (64 of Mamba-1's channels), in mixers whose heads they divide.

    Raises:
        InputError: no such token or position.
        UnsupportedFamilyError: heads that do not reach the stream through one matrix.
    """
    from workbench.direct_logits.anatomy import anatomy
    from workbench.direct_logits.parts import embeddings, head_results, layer_parts, site_labels

    tokens, mask = model.prepared(input, attention_mask)
    places = [position] if isinstance(position, int) else list(position)
    if not places or any(not -tokens.shape[1] <= place < tokens.shape[1] for place in places):
        raise InputError(f"Position {position} is outside the {tokens.shape[1]} tokens.")
    cache = model.run_with_cache(tokens, attention_mask=mask, return_type=None)[1]
    found, labels, stacks = anatomy(model), list[str](), list[Tensor]()

    def add(names: list[str], parts: Tensor) -> None:
        labels.extend(names)
        stacks.append(cache.logit_attrs(parts, chosen, wrong, pos_slice=places))

    chosen = _one_a_place(cache._ids(answer), len(tokens), len(places))
    wrong = None if incorrect is None else _one_a_place(cache._ids(incorrect), len(tokens), len(places))
    for label, tensor in embeddings(cache):
        add([label], tensor[None, :, places])
    for layer in range(model.cfg.n_layers):
        block = model.layout.blocks[layer]
        for placed in block.mixers:
            if not placed.writes:
                continue
            adapter = placed.adapter
            size = group if adapter.n_heads % group == 0 else 1
            heads = head_results(cache, found, adapter, places, size).movedim(-2, 0)
            add(site_labels(adapter, size), heads)
            out = cache[f"blocks.{layer}.{adapter.part}.hook_out"][:, places]
            add([f"L{layer}.{adapter.part} rest"], (out - heads.sum(0))[None])
        for label, tensor in layer_parts(cache, layer, "all"):
            if label.endswith(("_mlp_out", "_rest")):
                add([f"L{layer}.mlp" if label.endswith("_mlp_out") else f"L{layer} rest"], tensor[None, :, places])
    constant = cache.logit_bias(chosen, wrong)
    labels.append("bias")
    stacks.append(constant[None])
    stream = cache["resid_post", -1][:, places]
    stream = stream if found.final_norm is None else type(found.final_norm).forward(found.final_norm, stream)
    logits = found.unembed.call(stream) * found.factor
    total = logits.gather(-1, chosen[..., None].to(logits.device))[..., 0]
    if wrong is not None:
        total = total - logits.gather(-1, wrong[..., None].to(logits.device))[..., 0]
    return LogitParts(labels, torch.cat(stacks).flatten(1), total.flatten())


def _one_a_place(ids: Int[Tensor, "*shape"], batch: int, places: int) -> Int[Tensor, "batch places"]:
    if ids.dim() > 2 or (ids.dim() and len(ids) != batch) or (ids.dim() == 2 and ids.shape[1] != places):
        raise InputError(
            f"An answer is one token, one a sequence [{batch}] or one a place [{batch}, {places}], not {[*ids.shape]}."
        )
    return (ids[:, None] if ids.dim() == 1 else ids).expand(batch, places)
