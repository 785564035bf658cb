"""Activations of unedited runs that methods put in the place of others: computed when asked for, and kept.

Every number comes from passes over one prompt at a time, in the order of the study, so that it is the same bits
whichever worker computes it and whatever else is in its chunk.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.interventions.selection import time_axis
from workbench.model import HookedModel
from workbench.studies.identity import digest
from workbench.studies.inputs.prompt import Prompt

KEPT_BYTES = 64 * 2**20
"""Of activations of prompts, kept in memory."""

STATISTICS = ("mean", "mean_per_position", "deviation")


@dataclass
class _Sums:
    """Running sums over prompts, at each position, in float64."""

    total: Tensor
    squares: Tensor
    count: Tensor

    @classmethod
    def none_of(cls, value: Tensor) -> _Sums:
        return cls(torch.zeros_like(value), torch.zeros_like(value), torch.zeros(len(value), dtype=torch.float64))

    def add(self, value: Tensor) -> None:
        """Add what one prompt showed, ``[time, ...]``."""
        longer = len(value) - len(self.total)
        if longer > 0:
            self.total, self.squares, self.count = (
                torch.cat([old, old.new_zeros(longer, *old.shape[1:])])
                for old in (self.total, self.squares, self.count)
            )
        self.total[: len(value)] += value
        self.squares[: len(value)] += value.square()
        self.count[: len(value)] += 1

    def statistics(self) -> dict[str, Tensor]:
        """By `STATISTICS`, ``[1, time or 1, ...]``."""
        each = self.count.reshape(-1, *[1] * (self.total.dim() - 1)).to(self.total)
        n = float(self.count.sum())
        mean = self.total.sum(0, keepdim=True) / n
        variance = (self.squares.sum(0, keepdim=True) / n - mean.square()).clamp(min=0)
        return {
            "mean": mean[None],
            "mean_per_position": (self.total / each)[None],
            "deviation": variance.sqrt()[None],
        }


class WorkerDonors:
    """What `Donors` asks for, of one model and the prompts of a study that it reads."""

    def __init__(
        self, model: HookedModel, prompts: Sequence[Prompt], model_digest: str, references: Path | None
    ) -> None:
        """`references` is a folder where means are kept for other workers; None for memory only."""
        self._model = model
        self._prompts = prompts
        self._digest = model_digest
        self._folder = references
        self._statistics: dict[tuple[str, str], Mapping[str, Tensor]] = {}
        self._activations: OrderedDict[tuple[tuple[int, ...], str], dict[str, Tensor]] = OrderedDict()

    def mean(self, name: str, source: str, per_position: bool) -> Tensor:
        """Mean at a hook over the prompts of a split, ``[1, time or 1, ...]``; `time` is that of the longest.

        Raises:
            InputError: no prompt is of that split, or positions of the hook are no positions of a text.
        """
        return self._statistic(name, source, "mean_per_position" if per_position else "mean")

    def deviation(self, name: str, source: str) -> Tensor:
        """Standard deviation at a hook over the prompts and positions of a split, ``[1, 1, ...]``."""
        return self._statistic(name, source, "deviation")

    def activation(self, name: str, prompt: Prompt) -> Tensor:
        """What passes at a hook when the model reads a prompt, ``[1, time, ...]``; states after every step."""
        point = self._model.points[name]
        group = _group(point)
        key = (prompt.tokens, group)
        if key not in self._activations:
            self._activations[key] = self._recorded(prompt, self._names(group))
            kept = sum(_nbytes(value) for value in self._activations.values())
            while kept > KEPT_BYTES and len(self._activations) > 1:
                kept -= _nbytes(self._activations.popitem(last=False)[1])
        self._activations.move_to_end(key)
        return self._activations[key][point.name]

    def partner(self, prompt: Prompt, source: str, seed: int) -> Prompt:
        """Another prompt of a split, as long and of other tokens, drawn by the seed.

        Raises:
            InputError: there is none.
        """
        time = len(prompt.tokens)
        others = [o for o in self._of_split(source) if len(o.tokens) == time and o.tokens != prompt.tokens]
        if not others:
            raise InputError(
                f"No other prompt of {_told(source)} has {time} tokens, so that there is none to take activations from."
            )
        return others[int(digest([seed, prompt.prompt_id]), 16) % len(others)]

    def _of_split(self, source: str) -> list[Prompt]:
        """Prompts of a split; those of no split at all (``"all"``) serve for every one."""
        found = [prompt for prompt in self._prompts if source == "all" or prompt.split in (source, "all")]
        if not found:
            raise InputError(f"The study has no prompt of {_told(source)} to take activations from.")
        return found

    def _statistic(self, name: str, source: str, which: str) -> Tensor:
        point = self._model.points[name]
        group = _group(point)
        if (group, source) not in self._statistics:
            self._statistics[group, source] = self._read(group, source) or self._computed(group, source)
        return self._statistics[group, source][f"{point.name} {which}"].to(self._model.cfg.device)

    def _computed(self, group: str, source: str) -> dict[str, Tensor]:
        """The statistics of every hook of a group, from one pass over the prompts; the first to do so saves them."""
        names = self._names(group)
        sums: dict[str, _Sums] = {}
        for prompt in self._of_split(source):
            for name, value in self._recorded(prompt, names).items():
                wide = value[0].movedim(_time(self._model.points[name]) - 1, 0).double().cpu()
                sums.setdefault(name, _Sums.none_of(wide)).add(wide)
        found: dict[str, Tensor] = {}
        for name, each in sums.items():
            axis = _time(self._model.points[name])
            for which, value in each.statistics().items():
                found[f"{name} {which}"] = value.movedim(1, axis).to(self._model.cfg.dtype).contiguous()
        self._save(group, source, found)
        return found

    def _recorded(self, prompt: Prompt, names: Sequence[str]) -> dict[str, Tensor]:
        """What passes at hooks when the model reads a prompt alone; states stacked along time."""
        steps: dict[str, list[Tensor]] = {name: [] for name in names}

        def keep(tensor: Tensor, hook: HookPoint) -> None:
            steps[hook.name].append(tensor.detach().clone())

        tokens = torch.tensor([prompt.tokens], device=self._model.cfg.device)
        last = max((self._model.points[name].layer() + 1 if name.startswith("blocks.") else -1) for name in names)
        inside = all(name.startswith("blocks.") for name in names)
        with torch.no_grad():
            self._model.run_with_hooks(
                tokens,
                fwd_hooks=[(name, keep) for name in names],
                return_type=None,
                stop_at_layer=last if inside else None,
            )
        points = self._model.points
        return {name: torch.stack(values, 1) if points[name].per_step else values[0] for name, values in steps.items()}

    def _names(self, group: str) -> list[str]:
        return [name for name, point in self._model.points.items() if _group(point) == group]

    def _place(self, group: str, source: str) -> Path | None:
        if self._folder is None:
            return None
        prompts = [prompt.tokens for prompt in self._of_split(source)]
        key = digest([self._digest, str(self._model.cfg.dtype), group, torch.get_num_threads(), prompts])
        return self._folder / f"statistics-{key}.safetensors"

    def _read(self, group: str, source: str) -> dict[str, Tensor] | None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        place = self._place(group, source)
        if place is None or not place.is_file():
            return None
        wanted = {f"{name} {which}" for name in self._names(group) for which in STATISTICS}
        try:
            found: dict[str, Tensor] = load_file(str(place))
        except (OSError, SafetensorError):
            return None  # damaged: it is computed again, and replaced
        return found if set(found) == wanted else None

    def _save(self, group: str, source: str, found: dict[str, Tensor]) -> None:
        from safetensors.torch import save_file

        from workbench.report.files import replacing

        place = self._place(group, source)
        if place is None:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as temporary:
            save_file(found, temporary)


def _group(point: HookPoint) -> str:
    """What hooks are recorded together: the same hook of every layer; of states, which are large, only its own."""
    if point.per_step or not point.name.startswith("blocks."):
        return point.name
    return point.name.split(".", 2)[2]


def _time(point: HookPoint) -> int:
    if point.per_step:
        return 1
    if "time" in point.axes and "source" in point.axes:
        raise InputError(f"{point.name} is a row of another length at every position and has no mean.")
    return time_axis(point)


def _nbytes(values: Mapping[str, Any]) -> int:
    return sum(value.numel() * value.element_size() for value in values.values())


def _told(source: str) -> str:
    return "the study" if source == "all" else f"the split {source!r}"
