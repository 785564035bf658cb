"""What all interventions have in common: they are hooks, so several go into one run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from workbench.hooks import HookFunction
from workbench.model import HookedModel
from workbench.wrapping import ModelInput


class Intervention(ABC):
    """A change of what a model computes, as hooks on named places.

    Several make one run: ``with model.hooks([*ablate.hooks(model, tokens), *steer.hooks(model, tokens)]): ...``. At one
    place they act in the order of the list. What an intervention has to know of other runs it finds out in `hooks`.
    """

    @abstractmethod
    def hooks(
        self, model: HookedModel, tokens: ModelInput | None = None, attention_mask: Tensor | None = None
    ) -> list[tuple[str, HookFunction]]:
        """Hooks for ``model.run_with_hooks(tokens, fwd_hooks=...)`` or ``with model.hooks(fwd_hooks=...)``.

        Args:
            model: a hooked model.
            tokens: what will be run, texts or tokens, where the intervention depends on it.
            attention_mask: 1 or True where `tokens` are text, 0 where they are padding.

        Raises:
            InputError: the model lacks a place, or tokens are needed and missing.
            HookNameError: a hook name matches nothing.
        """

    @contextmanager
    def applied(
        self, model: HookedModel, tokens: ModelInput | None = None, attention_mask: Tensor | None = None
    ) -> Iterator[None]:
        """``with edit.applied(model, tokens): model(tokens)``; see `hooks` for the arguments. Generation counts too."""
        with model.hooks(fwd_hooks=self.hooks(model, tokens, attention_mask)):
            yield
