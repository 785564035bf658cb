"""Which ids play which part in a task, and the finished task as its model reads it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.errors import InputError
from workbench.tasks.base import Task
from workbench.tasks.vocabulary import Vocabulary

AnyTask = TypeVar("AnyTask", bound=Task)


def check_sizes(task: str, least: int = 1, /, **sizes: int) -> None:
    """Refuse sizes below `least`.

    Raises:
        InputError: naming the first of them.
    """
    for name, value in sizes.items():
        if value < least:
            raise InputError(f"{name} is {value}; task {task!r} needs {name} >= {least}.")


def check_choice(task: str, name: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a word that is none of the `choices`.

    Raises:
        InputError: naming them.
    """
    if value not in set(choices):
        raise InputError(f"{name} is {value!r}; task {task!r} has: {', '.join(choices)}.")


def length_labels(steps: Int[Tensor, "*shape"], trained: int | None) -> tuple[Int[Tensor, "*shape"], tuple[str, ...]]:
    """Labels that tell predictions within the trained length from those beyond it.

    Args:
        steps: how long the text is that each prediction depends on, in symbols.
        trained: the longest that was trained on; None for one label, ``"answer"``.
    """
    if trained is None:
        return torch.zeros_like(steps), ("answer",)
    return (steps > trained).long(), ("within", "beyond")


@dataclass(frozen=True)
class Alphabet:
    """The ids that a task may write with.

    Attributes:
        task: its name, for what is said of it.
        known: where the ids come from.
        first: id of the token in front of every sequence, or None.
        ids: those that may be drawn, in order.
    """

    task: str
    known: Vocabulary
    first: int | None
    ids: Int[Tensor, " ids"]

    @classmethod
    def of(
        cls, task: str, vocabulary: Any, avoid: Iterable[int] | None = None, bos: bool | int | None = None
    ) -> Alphabet:
        """The alphabet of a vocabulary size, a tokenizer or a model; see `Vocabulary` for what is refused."""
        known = Vocabulary.of(vocabulary)
        first = known.bos(bos)
        ids = known.plain(avoid)
        return cls(task, known, first, ids if first is None else ids[ids != first])

    def parts(self, **sizes: int) -> list[Int[Tensor, " part"]]:
        """Disjoint runs of ids, one for each named part, from the lowest id on.

        Raises:
            InputError: there are fewer ids than the parts need.
        """
        needed = sum(sizes.values())
        if needed > len(self.ids):
            said = ", ".join(f"{size} for {name}" for name, size in sizes.items())
            raise InputError(
                f"Task {self.task!r} needs {needed} tokens at these sizes ({said}), and {len(self.ids)} are allowed."
            )
        return list(self.ids[:needed].split(list(sizes.values())))

    def finish(self, task: AnyTask) -> AnyTask:
        """The task with the first token in front, on the model's device.

        Raises:
            InputError: it is longer than the model's context.
        """
        self.known.check_length(task.time + (self.first is not None), task.name)
        changes: dict[str, Any] = {}
        for each in fields(task):
            value = getattr(task, each.name)
            if isinstance(value, Tensor):
                if self.first is not None:
                    value = _behind(each.name, value, self.first, bool(each.metadata.get("positions")))
                if self.known.device.type == "mps" and value.dtype == torch.float64:
                    value = value.float()  # Apple's GPUs have no float64
                changes[each.name] = value.to(self.known.device)
        return replace(task, **changes)


def _behind(name: str, value: Tensor, first: int, positions: bool) -> Tensor:
    """A field of a task as it is when a token is put in front."""
    if name == "tokens":
        return torch.cat([value.new_full((len(value), 1), first), value], dim=1)
    if name == "states":
        return torch.cat([value.new_full((len(value), 1), -1), value], dim=1)
    if name in ("positions", "sources") or positions:
        return torch.where(value >= 0, value + 1, value)
    return value
