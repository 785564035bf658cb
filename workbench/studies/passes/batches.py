"""One batch of edited rows, from a layer and a position on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.model import HookedModel
from workbench.restarting import Entered, recording, restarting
from workbench.states import going_on
from workbench.stopping import Stopped
from workbench.studies.edits.site import BoundEdit
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.passes.plain import in_force
from workbench.studies.passes.prefixes import Prefixes, going_on_at
from workbench.studies.passes.references import References, budget_of
from workbench.studies.passes.rows import stacked
from workbench.studies.passes.tail import tail_logits

Logits = Float[Tensor, "scored vocabulary"]
Rows = Sequence[tuple[Prompt, BoundEdit]]


@dataclass(frozen=True)
class Start:
    """Where passes begin.

    Attributes:
        layer: layers below give what they gave the unedited model.
        position: tokens before are remembered; 0 for none, and above 0 all rows are of one prompt.
    """

    layer: int
    position: int = 0

    @property
    def way(self) -> tuple[str, int, bool]:
        """What is tried once for all prompts."""
        return "start", self.layer, self.position > 0

    def __str__(self) -> str:
        return f"layer {self.layer}" + (" with the tokens before the edit remembered" if self.position else "")


class Batches:
    """Runs batches of one model, and keeps what they begin with."""

    def __init__(self, model: HookedModel) -> None:
        self._model = model
        budget = budget_of(model)
        self._references = References(model, budget // 4 * 3)
        self._prefixes = Prefixes(model, budget // 4)

    def tail(self, prompt: Prompt) -> Logits:
        """The unedited logits at a prompt's scored positions, from what the last block gave."""
        entered = self._references.entered(prompt, self._model.cfg.n_layers)
        tokens = torch.tensor([prompt.tokens], device=self._model.cfg.device)
        (found,) = tail_logits(self._model, entered, tokens, [prompt.scored])
        return found

    def run(self, start: Start, rows: Rows, at_once: bool = False) -> Iterator[Logits]:
        """Each row's logits at its prompt's scored positions, in order.

        Args:
            at_once: run to the end with all rows and positions, because something acts behind the last block.
        """
        model = self._model
        tokens = torch.tensor([prompt.tokens for prompt, _ in rows], device=model.cfg.device)[:, start.position :]
        only = rows[0][1] if len(rows) == 1 else None
        hooks = only.hooks if only is not None else stacked(model.points, [bound.hooks for _, bound in rows])
        if start.position:
            hooks = going_on_at(model, hooks, start.position)
        ended: dict[int, Entered] = {}
        logits = None
        with ExitStack() as stack:
            stack.enter_context(in_force(model, hooks, only))
            stack.enter_context(self._beginning(start, [prompt for prompt, _ in rows]))
            if not at_once:
                stack.enter_context(recording(model, [model.cfg.n_layers], ended, stop=True))
            if start.position:
                self._go_on(start, rows[0][0], tokens)
            else:
                logits = model(tokens, return_type="logits" if at_once else None)
        if logits is not None:
            for (prompt, _), row in zip(rows, logits, strict=True):
                yield row[list(prompt.scored)]
            return
        later = [[one - start.position for one in prompt.scored if one >= start.position] for prompt, _ in rows]
        found = tail_logits(model, ended[model.cfg.n_layers], tokens, later)
        if not start.position:
            yield from found
            return
        # No edit has reached the positions before.
        before = self.tail(rows[0][0])[: len(rows[0][0].scored) - len(later[0])]
        if not later[0]:
            yield from (before for _ in rows)
            return
        for row in found:
            yield torch.cat([before, row])

    def _go_on(self, start: Start, prompt: Prompt, tokens: Tensor) -> None:
        state = self._prefixes.state(prompt, start.position).repeated(len(tokens))
        mask = torch.ones(len(tokens), len(prompt.tokens), dtype=torch.long, device=tokens.device)
        with going_on(self._model, state) as cache, suppress(Stopped):
            self._model.step(tokens, mask, None, cache, True)

    def _beginning(self, start: Start, prompts: Sequence[Prompt]) -> AbstractContextManager[None]:
        if start.position:
            self._prefixes.state(prompts[0], start.position)  # before any block is replaced
        if start.layer == 0:
            return nullcontext()
        several = list(dict.fromkeys(prompts))
        joined = Entered.joined([self._references.entered(prompt, start.layer) for prompt in several])
        rows = joined.rows([several.index(prompt) for prompt in prompts])
        return restarting(self._model, rows.since(start.position) if start.position else rows)
