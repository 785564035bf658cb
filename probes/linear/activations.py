"""Activations at labelled places, streamed over batches into arrays that were allocated once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.model import HookedModel
from workbench.probes.linear.data import ProbeData
from workbench.probes.linear.places import At, places
from workbench.progress import tracked
from workbench.steps import at_steps

MOST_BYTES = 4 * 2**30


@dataclass(frozen=True, eq=False)
class Activations:
    """One hook's activations at the places of a `ProbeData`, a row a place.

    Attributes:
        values: float32; the axes after batch and time (after batch, of a state) flattened.
        hook: canonical name.
        shape: the axes before they were flattened, such as ``(head, value)``.
    """

    values: Float[np.ndarray, "rows features"]
    hook: str
    shape: tuple[int, ...]

    def head(self, head: int) -> Activations:
        """One head's part. Raises InputError for a hook without heads or a head that it does not have."""
        if len(self.shape) < 2:
            raise InputError(f"{self.hook} is not split into heads; its shape a token is {[*self.shape]}.")
        if not 0 <= head < self.shape[0]:
            raise InputError(f"Head {head} is out of range: {self.hook} has heads 0 to {self.shape[0] - 1}.")
        rows = len(self.values)
        return Activations(self.values.reshape(rows, self.shape[0], -1)[:, head], self.hook, self.shape[1:])


@checked_call
def collect_activations(
    model: HookedModel,
    data: ProbeData,
    at: At,
    layers: Sequence[int] | int | None = None,
    *,
    batch: int = 16,
    most_bytes: int = MOST_BYTES,
    progress: bool = False,
) -> dict[str, Activations]:
    """Read hooks at the labelled places, one pass over the sequences; by canonical name.

    Of sites that are heads (``"L2H1"``) only those heads are kept.

    Sequences of like length share a batch (padded on the left), the model runs no further than the last layer asked
    for, and of each batch only the labelled places are kept, as float32. Recurrent states are taken after the labelled
    token; what lies between runs at full speed.

    Args:
        at, layers: as in `places`.
        batch: sequences a forward pass.
        most_bytes: what the arrays may take together.
        progress: show a progress bar.

    Raises:
        InputError: the arrays would take more than `most_bytes`; see `places` for the rest.
    """
    if batch < 1:
        raise InputError(f"batch is {batch}; at least one sequence a forward pass is needed.")
    heads_of = {place.name: place.heads for place in places(model, at, layers)}
    names = list(heads_of)
    kept: dict[str, Activations] = {}

    def keep(name: str, rows: Int[np.ndarray, " some"], values: Tensor) -> None:
        heads = heads_of[name]
        if heads is not None:  # behind the rows, heads come first wherever a hook has them
            values = values[:, list(heads)]
        if name not in kept:
            needed = 4 * len(data) * (values[0].numel() + sum(one.values.shape[1] for one in kept.values()))
            if needed > most_bytes:
                raise InputError(
                    f"The activations of {len(kept) + 1} hooks at {len(data)} places take {needed / 2**30:.1f} GiB, "
                    f"and {most_bytes / 2**30:.1f} are allowed; take fewer places (data.sample) or fewer hooks at once."
                )
            empty = np.empty((len(data), values[0].numel()), dtype=np.float32)
            kept[name] = Activations(empty, name, tuple(values.shape[1:]))
        kept[name].values[rows] = values.flatten(1).float().cpu().numpy()

    stop = _stop_at(model, names)
    batches = list(_batches(data, batch, model.pad_id))
    for tokens, mask, rows, row_of, column in tracked(batches, progress, "reading activations"):
        device = model.cfg.device
        listeners: list[tuple[str, Callable[[Tensor, HookPoint], Tensor | None]]] = []
        for name in names:
            if model.points[name].per_step:
                listeners.append((name, at_steps(_state_keeper(keep, rows, row_of, column), column.tolist())))
            else:
                listeners.append((name, _keeper(keep, rows, row_of, column)))
        with torch.no_grad():
            model.run_with_hooks(
                tokens.to(device),
                fwd_hooks=listeners,
                attention_mask=mask.to(device),
                return_type=None,
                stop_at_layer=stop,
            )
    return kept


Keep = Callable[[str, np.ndarray, Tensor], None]
Batch = tuple[Tensor, Tensor, np.ndarray, np.ndarray, np.ndarray]


def _keeper(
    keep: Keep, rows: np.ndarray, row_of: np.ndarray, column: np.ndarray
) -> Callable[[Tensor, HookPoint], None]:
    def listener(tensor: Tensor, hook: HookPoint) -> None:
        at = (torch.as_tensor(row_of, device=tensor.device), torch.as_tensor(column, device=tensor.device))
        keep(hook.name, rows, tensor.detach()[at])

    return listener


def _state_keeper(
    keep: Keep, rows: np.ndarray, row_of: np.ndarray, column: np.ndarray
) -> Callable[[Tensor, HookPoint], None]:
    def listener(state: Tensor, hook: HookPoint) -> None:
        now = np.nonzero(column == hook.step)[0]
        keep(hook.name, rows[now], state.detach()[torch.as_tensor(row_of[now], device=state.device)])

    return listener


def _batches(data: ProbeData, batch: int, pad: int) -> Iterator[Batch]:
    """Tokens, mask, and for each labelled place its row in the data, its row in the batch and its column there."""
    order = np.argsort(data.sequence, kind="stable")
    numbers, starts = np.unique(data.sequence[order], return_index=True)
    rows_of = dict(zip(numbers.tolist(), np.split(order, starts[1:]), strict=True))
    by_length = sorted(rows_of, key=lambda number: len(data.sequences[number]))
    for start in range(0, len(by_length), batch):
        chosen = by_length[start : start + batch]
        width = max(len(data.sequences[number]) for number in chosen)
        tokens = torch.full((len(chosen), width), pad, dtype=torch.long)
        mask = torch.zeros(len(chosen), width, dtype=torch.long)
        row_of, column = [], []
        for line, number in enumerate(chosen):
            length = len(data.sequences[number])
            tokens[line, width - length :] = data.sequences[number]
            mask[line, width - length :] = 1
            row_of.append(np.full(len(rows_of[number]), line))
            column.append(data.position[rows_of[number]] + width - length)
        rows = np.concatenate([rows_of[number] for number in chosen])
        yield tokens, mask, rows, np.concatenate(row_of), np.concatenate(column)


def _stop_at(model: HookedModel, names: list[str]) -> int | None:
    """The first layer that need not run, or None where all must."""
    if not all(name.startswith("blocks.") for name in names):
        return None
    after = 1 + max(model.points[name].layer() for name in names)
    return after if after < model.cfg.n_layers else None
