"""Patching: a run goes on with activations of another run, at chosen places and positions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.cache import ActivationCache
from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint
from workbench.interventions.base import Intervention
from workbench.interventions.positions import Positions, When
from workbench.interventions.selection import Selection, selections, time_axis
from workbench.model import HookedModel
from workbench.sites import SiteLike
from workbench.wrapping import ModelInput


@dataclass(frozen=True)
class _Donor:
    """What one hook gets: values of another run, which of them along time, and how long that run was."""

    values: Tensor
    taken: Int[Tensor, "rows n"]
    length: int


class Patch(Intervention):
    """Put what another run computed at some places in the place of what this one computes there.

    Activation patching (Vig et al. 2020, "Investigating Gender Bias in Language Models Using Causal Mediation
    Analysis"; Heimersheim and Nanda 2024, arXiv:2404.15255). On ``hook_state`` a recurrent layer's memory after chosen
    tokens is replaced, and everything later goes on from it.

    Args:
        at: sites, or hook names.
        source: the other run: texts or tokens, or what it recorded (``model.run_with_cache(...)[1]``; a state recorded
            at all steps, or at the source positions in their order).
        positions: where to put it; all by default, which needs runs of one length. Generated tokens have no
            counterpart in the other run and stay as they are.
        source_positions: where to take it from, one for one; the same positions by default.
        source_mask: 1 or True where source tokens are text, 0 where they are padding.
        source_at: hook to take it from, if it is not the one where it is put (back-patching); then `at` means one hook.
        heads: numbers of heads (or of groups that share keys), for hook names.
        units: numbers along the tensor's last axis, for hook names.

    Raises:
        InputError: a place, head or position that makes no sense, or runs that do not fit.
    """

    def __init__(
        self,
        at: SiteLike | Iterable[SiteLike],
        source: ModelInput | ActivationCache,
        positions: Positions = None,
        *,
        source_positions: Positions = None,
        source_mask: Tensor | None = None,
        source_at: str | None = None,
        heads: Sequence[int] | int | None = None,
        units: Sequence[int] | int | None = None,
    ) -> None:
        if source_mask is not None and isinstance(source, ActivationCache):
            raise InputError("source_mask goes with source tokens, not with what a run recorded.")
        self.at, self.heads, self.units = at, heads, units
        self.source, self.source_mask, self.source_at = source, source_mask, source_at
        self.when = When.of(positions)
        self.taken = self.when if source_positions is None else When.of(source_positions)

    def hooks(
        self, model: HookedModel, tokens: ModelInput | None = None, attention_mask: Tensor | None = None
    ) -> list[tuple[str, HookFunction]]:
        """Hooks that patch; the other run is made now, unless it was recorded. See `Intervention.hooks`.

        Steps of a state that count from the end need `tokens`.
        """
        chosen = selections(model, self.at, self.heads, self.units, self.when)
        if self.source_at is not None and len(chosen) > 1:
            raise InputError(f"source_at names one hook to take from, and {len(chosen)} are to be patched.")
        time = None if tokens is None else model.prepared(tokens, attention_mask)[0].shape[1]
        donors = self._donors(model, {one.name: model.points[self.source_at or one.name].name for one in chosen})
        return [self._hook(model, one, donors[one.name], time) for one in chosen]

    def _donors(self, model: HookedModel, names: dict[str, str]) -> dict[str, _Donor]:
        """What is put at each hook, by the hook it is taken from."""
        if isinstance(self.source, ActivationCache):
            return {name: self._of_cache(self.source[taken], model.points[taken]) for name, taken in names.items()}
        tokens, mask = model.prepared(self.source, self.source_mask)
        time = tokens.shape[1]
        wanted = sorted(set(names.values()))
        taken = self.taken.within(time)
        states = any(model.points[name].per_step for name in wanted)
        steps = taken.unique() if states else None
        with torch.no_grad():
            _, cache = model.run_with_cache(
                tokens, wanted, mask, return_type=None, steps=None if steps is None else steps.tolist()
            )
        of_states = taken if steps is None else torch.searchsorted(steps, taken.contiguous())
        return {
            name: _Donor(cache[source], of_states if model.points[source].per_step else taken, time)
            for name, source in names.items()
        }

    def _of_cache(self, values: Tensor, point: HookPoint) -> _Donor:
        axis = 1 if point.per_step else time_axis(point)
        length = values.shape[axis]
        if point.per_step and self.taken.listed is not None and length == self.taken.listed.shape[1]:
            return _Donor(values, torch.arange(length)[None], length)
        return _Donor(values, self.taken.within(length), length)

    def _hook(
        self, model: HookedModel, selection: Selection, donor: _Donor, time: int | None
    ) -> tuple[str, HookFunction]:
        point = model.points[selection.name]
        axis = 1 if point.per_step else time_axis(point)
        start, stop = self.when.span
        whole = self.when.listed is None and stop is None
        count = donor.taken.shape[1]
        if whole:
            selection = replace(selection, when=replace(self.when, span=(start, start + count)))

        def change(tensor: Tensor, hook: HookPoint) -> Tensor:
            if len(donor.values) not in (1, len(tensor)):
                raise InputError(f"The other run has {len(donor.values)} sequences and this one {len(tensor)}.")
            if hook.step is not None:
                prompt, first, size = hook.ran if time is None else time, hook.step, 1
            else:
                first, size = 0 if hook.axes[axis] == "source" else model.past, tensor.shape[axis]
                prompt = first + size
            if whole and model.past == 0 and prompt - start != count:
                raise InputError(
                    f"The other run has {donor.length} positions and this one {prompt}; say which belong together "
                    "with positions and source_positions."
                )
            placed = self._placed(prompt, count) - first
            if hook.step is None:
                return _put(tensor, donor.values.to(tensor), placed, donor.taken, axis, size)
            return _put(tensor[:, None], donor.values.to(tensor), placed, donor.taken, axis, size)[:, 0]

        return selection.hook(model, change, time)

    def _placed(self, prompt: int, count: int) -> Int[Tensor, "rows n"]:
        """Positions in this run, one for each position of the other run."""
        if self.when.listed is None:
            placed = torch.arange(self.when.span[0], self.when.span[0] + count)[None]
            asked = None if self.when.span[1] is None else self.when.span[1] - self.when.span[0]
        else:
            placed = torch.where(self.when.listed < 0, self.when.listed + prompt, self.when.listed)
            asked = placed.shape[1]
        if asked is not None and asked != count:
            raise InputError(f"{asked} positions are to be patched from {count}; each needs one of its own.")
        return placed


def _put(
    tensor: Tensor, values: Tensor, placed: Int[Tensor, "_r n"], taken: Int[Tensor, "_s n"], axis: int, size: int
) -> Tensor:
    """`tensor` with ``values[taken]`` at `placed`, row by row where rows differ; places outside it are left out."""
    rows = max(len(placed), len(taken))
    if rows == 1:
        inside = (placed[0] >= 0) & (placed[0] < size)
        chosen = values.index_select(axis, taken[0, inside].to(values.device))
        chosen = chosen.expand(len(tensor), *chosen.shape[1:])
        return tensor.index_copy(axis, placed[0, inside].to(tensor.device), chosen)
    placed, taken = placed.expand(rows, -1), taken.expand(rows, -1)
    of_row = values.expand(rows, *values.shape[1:])
    return torch.cat(
        [
            _put(tensor[i : i + 1], of_row[i : i + 1], placed[i : i + 1], taken[i : i + 1], axis, size)
            for i in range(rows)
        ]
    )
