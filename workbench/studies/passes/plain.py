"""One edit of one prompt as a plain forward pass: what every faster way has to agree with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.hooks import HookFunction
from workbench.model import HookedModel
from workbench.studies.edits.site import BoundEdit
from workbench.studies.inputs.prompt import Prompt


def plain_logits(model: HookedModel, prompt: Prompt, edit: BoundEdit) -> Float[Tensor, "scored vocabulary"]:
    """The logits at a prompt's scored positions, from one whole pass with an edit's hooks and nothing reused.

    Raises:
        WorkbenchError: as the hooks do; HookNeverFiredError where one of them never fired.
    """
    tokens = torch.tensor([prompt.tokens], device=model.cfg.device)
    with in_force(model, edit.hooks, edit):
        logits: Tensor = model(tokens)
    return logits[0, list(prompt.scored)]


@contextmanager
def in_force(model: HookedModel, hooks: Sequence[tuple[str, HookFunction]], edit: BoundEdit | None) -> Iterator[None]:
    """Hooks attached and an edit's context entered, nothing kept for a backward pass."""
    whole = None if edit is None else edit.whole
    with torch.no_grad(), whole or nullcontext(), model.points.attached(hooks) if hooks else nullcontext():
        yield
