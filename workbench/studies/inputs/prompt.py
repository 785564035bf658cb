"""One prompt of a study: what the model reads, where it is scored, and what would be right there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from workbench.errors import InputError
from workbench.studies.identity import digest

Split: TypeAlias = Literal["all", "discover", "confirm"]


@dataclass(frozen=True)
class Prompt:
    """What one forward pass reads, without padding.

    Attributes:
        tokens: token ids.
        scored: positions whose logits are compared with `answers`, ascending (the logits *at* a position predict the
            token after it).
        answers: the correct next token at each scored position.
        foils: wrong tokens that each scored position is tempted by: one tuple a scored position, or none at all.
        sources: the position that an ideal reader looks at, for each scored position, -1 where there is none; or none
            at all.
        corrupt: another prompt of the same length, which patching takes activations from; None without one.
        group: what is independent of what: prompts of one group are resampled together.
        split: whether it serves to find things, to confirm them, or both.
        number: its place among equal prompts of the study, 0 for the first.
    """

    tokens: tuple[int, ...]
    scored: tuple[int, ...]
    answers: tuple[int, ...]
    foils: tuple[tuple[int, ...], ...] = ()
    sources: tuple[int, ...] = ()
    corrupt: tuple[int, ...] | None = None
    group: str = ""
    split: Split = "all"
    number: int = 0

    @cached_property
    def prompt_id(self) -> str:
        """128 bits of everything that a result depends on (not of group and split)."""
        content = asdict(self)
        del content["group"], content["split"]
        return digest(content)

    @cached_property
    def corrupted(self) -> Prompt:
        """The corrupt prompt, to be read in the place of this one.

        Raises:
            InputError: this prompt has none.
        """
        if self.corrupt is None:
            raise InputError("This prompt has no corrupt prompt to patch from; add one, or choose another method.")
        return Prompt(self.corrupt, self.scored, self.answers)
