"""Feed-forward layers as key-value memories: what sets a hidden unit off, and whether its value says what follows.

Geva et al. 2021 (arXiv:2012.14913): section 3 looks at the inputs that a key answers to most (its trigger examples),
section 4 asks how often the token that its value speaks for most is the token that follows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.model import HookedModel
from workbench.probes.weights.model import ModelWeights
from workbench.probes.weights.vocabulary import project
from workbench.progress import tracked
from workbench.tasks import bootstrap_means

CONTEXT = 12  # tokens before the trigger that a row of the table shows


@checked_call
def trigger_examples(
    model: HookedModel,
    layer: int,
    units: Sequence[int],
    batches: Iterable[Tensor],
    *,
    k: int = 10,
    progress: bool = False,
) -> pd.DataFrame:
    """The places of a corpus at which each hidden unit answers most, and whether its value predicts what follows.

    The corpus is streamed: only each unit's `k` best places are kept. The last token of a sequence, which nothing
    follows, is no place.

    Args:
        units: hidden units of the layer's MLP.
        batches: token ids ``[batch, time]``, a batch at a time.
        progress: show a progress bar.

    Returns:
        One row a place: ``layer``, ``unit``, ``rank`` (0 answers most), ``activation``, ``sequence`` (its number in the
        corpus), ``position``, ``context`` (text up to and with the token), ``next_token``, ``next_text``,
        ``value_token``, ``value_text`` (what the unit's value speaks for most), ``value_rank`` (of the next token among
        what it speaks for; 0 is agreement) and ``agrees``.

    Raises:
        InputError: no such layer or unit, a layer without such an MLP, or an empty corpus.
    """
    layer, chosen = model.layer_index(layer), [int(unit) for unit in units]
    values = ModelWeights(model, fold_norm=True).mlp(layer)[2]
    if not chosen or any(not 0 <= unit < len(values) for unit in chosen) or len(set(chosen)) < len(chosen):
        raise InputError(f"Units of layer {layer} go from 0 to {len(values) - 1}, each once; got {chosen}.")
    if k < 1:
        raise InputError(f"k is {k}; at least one example is needed.")
    best = _Best(len(chosen), k)
    name = f"blocks.{layer}.mlp.hook_post"
    kept: dict[int, Tensor] = {}
    seen = 0
    for tokens in tracked(batches, progress, "reading the corpus"):
        found: list[Tensor] = []

        def keep(post: Tensor, hook: HookPoint, found: list[Tensor] = found) -> None:
            found.append(post[:, :-1][..., chosen].detach().float())

        with torch.no_grad(), model.points[name].listening(keep):
            model(tokens, stop_at_layer=layer + 1)
        best.add(found[0], seen)
        kept.update({seen + row: tokens[row] for row in range(len(tokens))})
        seen += len(tokens)
        wanted = best.sequences()
        kept = {number: row for number, row in kept.items() if number in wanted}
    if not kept:
        raise InputError("The corpus is empty: no sequence of at least two tokens.")
    spoken = project(model, values[chosen], "writes")
    rows: list[dict[str, Any]] = []
    for index, unit in enumerate(chosen):
        for rank, (activation, sequence, position) in enumerate(best.places(index)):
            tokens, following = kept[sequence], int(kept[sequence][position + 1])
            top = int(spoken[index].argmax())
            value_rank = int((spoken[index] > spoken[index, following]).sum())
            rows.append(
                {
                    "layer": layer,
                    "unit": unit,
                    "rank": rank,
                    "activation": activation,
                    "sequence": sequence,
                    "position": position,
                    "context": _text(model, tokens[max(0, position - CONTEXT) : position + 1].tolist()),
                    "next_token": following,
                    "next_text": _text(model, [following]),
                    "value_token": top,
                    "value_text": _text(model, [top]),
                    "value_rank": value_rank,
                    "agrees": value_rank == 0,
                }
            )
    return pd.DataFrame(rows)


@checked_call
def value_agreement(table: pd.DataFrame, *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """How often the values of a layer's units agree with what follows their trigger examples (section 4).

    Returns:
        One row a layer: ``layer``, ``units``, ``agreement`` (mean over units of the share of their examples) with its
        bootstrap interval over units ``low`` and ``high``, ``median_rank`` of the next token.

    Raises:
        InputError: the table is no table of `trigger_examples`.
    """
    missing = {"layer", "unit", "agrees", "value_rank"} - set(table.columns)
    if missing or table.empty:
        raise InputError("This is no table of trigger_examples: " + (", ".join(sorted(missing)) or "it is empty") + ".")
    rows = []
    for layer, part in table.groupby("layer"):
        shares = torch.tensor(part.groupby("unit")["agrees"].mean().to_numpy(dtype=float))
        interval = bootstrap_means(shares[:, None], level=level, seed=seed, units="units")
        rows.append(
            {
                "layer": layer,
                "units": len(shares),
                "agreement": float(interval.mean[0]),
                "low": float(interval.low[0]),
                "high": float(interval.high[0]),
                "median_rank": float(part["value_rank"].median()),
            }
        )
    return pd.DataFrame(rows)


class _Best:
    """The `k` largest activations of each unit, and where they were."""

    def __init__(self, units: int, k: int) -> None:
        self._k = k
        self._values = torch.zeros(units, 0)
        self._where = torch.zeros(units, 0, 2, dtype=torch.long)

    def add(self, activations: Float[Tensor, "batch places units"], first: int) -> None:
        """A batch whose first sequence has the number `first`."""
        batch, places = activations.shape[:2]
        if places == 0:
            return
        top = activations.cpu().flatten(0, 1).T.topk(min(self._k, batch * places), dim=-1)
        where = torch.stack([top.indices // places + first, top.indices % places], dim=-1)
        values, found = torch.cat([self._values, top.values], 1), torch.cat([self._where, where], 1)
        order = values.topk(min(self._k, values.shape[1]), dim=-1)
        self._values = order.values
        self._where = found.gather(1, order.indices[..., None].expand(-1, -1, 2))

    def sequences(self) -> set[int]:
        """Numbers of the sequences that hold a place."""
        return set(self._where[..., 0].flatten().tolist())

    def places(self, unit: int) -> list[tuple[float, int, int]]:
        """Activation, sequence and position, largest first."""
        where = self._where[unit].tolist()
        return [(value, place[0], place[1]) for value, place in zip(self._values[unit].tolist(), where, strict=True)]


def _text(model: HookedModel, tokens: list[int]) -> str:
    return " ".join(map(str, tokens)) if model.tokenizer is None else str(model.to_string(tokens))
