"""Which tokens an intervention means: all, listed ones, a range that may be open, or others in every sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.errors import InputError

Positions: TypeAlias = int | Sequence[int] | slice | range | Tensor | None
"""A position, several, a range, one row of positions for each sequence ``[batch, n]``, or None for all."""


@dataclass(frozen=True)
class When:
    """Positions of a text, counted from the start of the prompt, padding and all; negative ones from its end.

    Attributes:
        listed: ``[1, n]``, or ``[batch, n]`` where every sequence has its own; None where `span` says it.
        span: from the first position up to the second (exclusive; None is without end).
    """

    listed: Int[Tensor, "rows n"] | None = None
    span: tuple[int, int | None] = (0, None)

    @classmethod
    def of(cls, positions: Positions) -> When:
        """Read positions as a user writes them.

        Raises:
            InputError: no position at all, a stride, or something that is no position.
        """
        if positions is None:
            return cls()
        if isinstance(positions, slice):
            return cls(span=_span(positions))
        try:
            listed = torch.as_tensor(list(positions) if isinstance(positions, range) else positions)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"{positions!r} are no positions; give whole numbers, a slice, or None for all.") from None
        whole = not listed.is_floating_point() and listed.dtype != torch.bool
        if listed.numel() == 0 or not whole or listed.dim() > 2:
            raise InputError(f"{positions!r} are no positions; give whole numbers, a slice, or None for all.")
        return cls(listed.detach().cpu().long().reshape(1, -1) if listed.dim() < 2 else listed.detach().cpu().long())

    def within(self, time: int) -> Int[Tensor, "rows n"]:
        """The positions in a prompt of `time` tokens, from 0 on and in the order they were given.

        Raises:
            InputError: one lies outside.
        """
        if self.listed is None:
            first, last = self.span
            found = torch.arange(first, time if last is None else min(last, time))[None]
            if found.numel() == 0:
                raise InputError(f"Positions {first}:{last} hold none of the {time} tokens.")
            return found
        found = torch.where(self.listed < 0, self.listed + time, self.listed)
        if bool(((found < 0) | (found >= time)).any()):
            wrong = int(self.listed[(found < 0) | (found >= time)][0])
            raise InputError(
                f"Position {wrong} is outside the {time} tokens of the prompt; write slice({max(wrong, 0)}, "
                f"{max(wrong, 0) + 1}) for a token yet to be generated."
            )
        return found

    def mask(self, batch: int, time: int, past: int, prompt: int) -> Bool[Tensor, "rows time"] | None:
        """Which of the `time` tokens after `past` earlier ones are meant, or None for none of them.

        Args:
            prompt: length of the text that listed positions lie in.

        Raises:
            InputError: a listed position lies outside the prompt, or the run has another number of sequences.
        """
        at = torch.arange(past, past + time)
        if self.listed is None:
            first, last = self.span
            chosen = ((at >= first) & (at < (past + time if last is None else last)))[None]
        else:
            self._check_rows(batch)
            chosen = (self.within(prompt)[:, :, None] == at).any(1)
        return chosen if bool(chosen.any()) else None

    def at_step(self, batch: int, step: int, time: int | None) -> Bool[Tensor, " rows"] | None:
        """In which sequences one step is meant, or None for none; `time` is the length of the prompt."""
        if self.listed is None:
            first, last = self.span
            return torch.ones(1, dtype=torch.bool) if first <= step and (last is None or step < last) else None
        self._check_rows(batch)
        chosen = (self._with_length(time) == step).any(1)
        return chosen if bool(chosen.any()) else None

    def steps(self, time: int | None) -> list[int] | None:
        """The steps in question, in increasing order; None where they go on without end.

        Raises:
            InputError: negative positions, and nobody knows the length of the prompt.
        """
        if self.listed is not None:
            return sorted(set(self._with_length(time).flatten().tolist()))
        return None if self.span[1] is None else list(range(self.span[0], self.span[1]))

    def _with_length(self, time: int | None) -> Tensor:
        assert self.listed is not None
        if time is not None:
            return self.within(time)
        if bool((self.listed < 0).any()):
            raise InputError("Steps that count from the end need the tokens that will be run: hooks(model, tokens).")
        return self.listed

    def _check_rows(self, batch: int) -> None:
        assert self.listed is not None
        if len(self.listed) not in (1, batch):
            raise InputError(f"There are positions for {len(self.listed)} sequences, and the run has {batch}.")


def _span(asked: slice) -> tuple[int, int | None]:
    first = 0 if asked.start is None else int(asked.start)
    last = None if asked.stop is None else int(asked.stop)
    if asked.step not in (None, 1):
        raise InputError(f"{asked} has a stride; list the positions instead.")
    if first < 0 or (last is not None and last <= first):
        raise InputError(f"{asked} holds no position; ranges count from 0 and end behind their start.")
    return first, last
