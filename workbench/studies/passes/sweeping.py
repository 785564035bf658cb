"""Passes of many edits: those that share a layer as one batch, from that layer on, with logits where they are scored.

Each faster way is compared with a plain pass before anything is believed of it (`workbench.studies.passes.trust`):
the restart at a layer by a row without an edit in the first batch that begins there, a kind of site and method by a
plain pass of the first unit of theirs. Where one disagrees, or fails, its units run plainly, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.model import HookedModel
from workbench.restarting import Entered, lowest_layer, recording, restarting
from workbench.studies.edits.edit import BASELINE, Edit
from workbench.studies.edits.site import BoundEdit
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.passes.plain import in_force, plain_logits
from workbench.studies.passes.references import References, budget_of
from workbench.studies.passes.rows import stacked
from workbench.studies.passes.tail import tail_logits
from workbench.studies.passes.trust import Trust, close, difference

TAIL = "tail"
"""Of `Trust`: logits at scored positions alone, from the last block's output."""

Logits = Float[Tensor, "scored vocabulary"]


@dataclass(frozen=True)
class Unit:
    """An edit and a prompt.

    Attributes:
        bind: makes the hooks; anew each time, since a context can be entered once.
    """

    edit: Edit
    prompt: Prompt
    bind: Callable[[], BoundEdit]

    @property
    def kind(self) -> tuple[str, str, bool]:
        """What is compared with a plain pass once: kind of site and method, and whether it acts at chosen positions."""
        site, method = self.edit.site or {}, self.edit.method or {}
        return str(site.get("kind")), str(method.get("kind")), self.edit.positions is not None

    @property
    def told(self) -> str:
        """The kind in words."""
        site, method, chosen = self.kind
        return f"{method} at {site}" + (", at chosen positions," if chosen else "")


class Passes:
    """Runs the units of one model.

    Attributes:
        trust: what has been found of the ways to run.
    """

    def __init__(self, model: HookedModel, reuse: bool = True, trust: Trust | None = None) -> None:
        """Begin with nothing kept.

        Args:
            reuse: False for plain passes, one unit at a time.
            trust: what has been found already.
        """
        self._model = model
        self._reuse = reuse
        self._references = References(model, budget_of(model))
        self.trust = Trust() if trust is None else trust

    def baseline(self, prompt: Prompt) -> Logits:
        """The unedited model's logits at a prompt's scored positions."""
        if not self._reuse or self.trust.off(TAIL):
            return self._plainly(prompt)
        if self.trust.tried(TAIL):
            return self._tail(prompt)
        plain = self._plainly(prompt)
        try:
            found = self._tail(prompt)
            if close(found, plain):
                self.trust.agree(TAIL)
            else:
                self.trust.switch_off(TAIL, f"Logits from the last layer's output differ by {_apart(found, plain)}.")
        except Exception as fault:  # whatever a family does there, plain passes are right
            self.trust.switch_off(TAIL, f"Nothing can begin after the last layer: {_told(fault)}")
        return plain

    def logits(self, units: Sequence[Unit]) -> Iterator[tuple[Unit, Logits]]:
        """Each unit once, in any order; all prompts of one length.

        Raises:
            WorkbenchError: as a unit's own hooks do in a plain pass.
        """
        rest: list[tuple[Unit, BoundEdit]] = []
        for unit in units:
            if unit.edit.family == BASELINE:
                yield unit, self.baseline(unit.prompt)
            else:
                rest.append((unit, unit.bind()))
        if not rest:
            return
        if not self._reuse:
            for unit, bound in rest:
                yield unit, plain_logits(self._model, unit.prompt, bound)
            return
        self.baseline(rest[0][0].prompt)  # tries the tail
        together = [pair for pair in rest if self._stackable(pair[1])]
        if together:
            yield from self._tried(together)
        for pair in rest:
            if not self._stackable(pair[1]):
                yield from self._tried([pair])

    def _stackable(self, bound: BoundEdit) -> bool:
        n_layers = self._model.cfg.n_layers
        behind = any(lowest_layer([name], n_layers) == n_layers for name in self._names(bound))
        return bound.whole is None and not behind and not self.trust.off(TAIL)

    def _names(self, bound: BoundEdit) -> list[str]:
        return [name for pattern, _ in bound.hooks for name in self._model.points.select(pattern)]

    def _layer(self, pairs: Sequence[tuple[Unit, BoundEdit]]) -> int:
        """Where a batch may begin. A context may touch anything from the lowest layer of its targets on."""
        n_layers = self._model.cfg.n_layers
        lowest = [lowest_layer(self._names(bound), n_layers) for _, bound in pairs]
        return min(*lowest, *(unit.edit.layer for unit, bound in pairs if bound.whole is not None), n_layers)

    def _tried(self, pairs: Sequence[tuple[Unit, BoundEdit]]) -> Iterator[tuple[Unit, Logits]]:
        """Units as one batch where that is trusted, after trying it where it is not known; else plainly."""
        layer = self._layer(pairs)
        left = {id(unit): unit for unit, _ in pairs}
        failed: Exception | None = None
        wanted = [pair for pair in pairs if not self._off(layer, pair[0])]
        new = {unit.kind: unit for unit, _ in reversed(wanted) if not self.trust.tried(unit.kind)}
        # What is to be compared comes first, so that nothing else is believed before.
        wanted.sort(key=lambda pair: new.get(pair[0].kind) is not pair[0])
        if wanted and self._begins_well(layer, wanted[0][0].prompt):
            expected = {id(unit): plain_logits(self._model, unit.prompt, unit.bind()) for unit in new.values()}
            try:
                for unit, logits in self._batch(layer, wanted):
                    if id(unit) in expected:
                        self._compare(unit, logits, expected[id(unit)])
                    if not self.trust.off(unit.kind):
                        del left[id(unit)]
                        yield unit, logits
            except Exception as fault:  # an edit's own mistake comes again in the plain pass, and is told from there
                failed = fault
        for unit in left.values():
            yield unit, plain_logits(self._model, unit.prompt, unit.bind())
        if failed is not None:
            for unit, _ in wanted:
                told = f"{unit.told} from layer {layer} on cannot be run as a batch: {_told(failed)}"
                self.trust.switch_off((layer, unit.kind), told)

    def _off(self, layer: int, unit: Unit) -> bool:
        return any(self.trust.off(key) for key in (layer, unit.kind, (layer, unit.kind)))

    def _compare(self, unit: Unit, logits: Logits, expected: Logits) -> None:
        if close(logits, expected):
            self.trust.agree(unit.kind)
        else:
            told = f"{unit.told} in a batch differs from a plain pass by {_apart(logits, expected)}"
            self.trust.switch_off(unit.kind, f"{told} ({unit.edit.label}).")

    def _begins_well(self, layer: int, prompt: Prompt) -> bool:
        """Whether passes may begin at a layer; the first that would is compared with the unedited model."""
        if layer == 0 or self.trust.tried(layer):
            return True
        expected = self.baseline(prompt)
        try:
            ((_, found),) = self._run(layer, [(None, prompt, BoundEdit([]))])
        except Exception as fault:  # whatever a family does there, plain passes are right
            self.trust.switch_off(layer, f"Nothing can begin at layer {layer}: {_told(fault)}")
            return False
        if close(found, expected):
            self.trust.agree(layer)
        else:
            self.trust.switch_off(layer, f"A pass from layer {layer} on differs by {_apart(found, expected)}.")
        return self.trust.tried(layer)

    def _batch(self, layer: int, pairs: Sequence[tuple[Unit, BoundEdit]]) -> Iterator[tuple[Unit, Logits]]:
        for unit, logits in self._run(layer, [(unit, unit.prompt, bound) for unit, bound in pairs]):
            assert unit is not None
            yield unit, logits

    def _run(
        self, layer: int, rows: Sequence[tuple[Unit | None, Prompt, BoundEdit]]
    ) -> Iterator[tuple[Unit | None, Logits]]:
        """One batch from a layer on; logits row by row."""
        model, n_layers = self._model, self._model.cfg.n_layers
        prompts = [prompt for _, prompt, _ in rows]
        tokens = torch.tensor([prompt.tokens for prompt in prompts], device=model.cfg.device)
        only = rows[0][2] if len(rows) == 1 else None
        hooks = only.hooks if only is not None else stacked(model.points, [bound.hooks for _, _, bound in rows])
        ended: dict[int, Entered] = {}
        at_once = not all(self._stackable(bound) for _, _, bound in rows)
        with ExitStack() as stack:
            stack.enter_context(in_force(model, hooks, only))
            stack.enter_context(self._beginning(layer, prompts))
            if not at_once:
                stack.enter_context(recording(model, [n_layers], ended, stop=True))
            logits = model(tokens, return_type="logits" if at_once else None)
        if at_once:
            for (unit, prompt, _), row in zip(rows, logits, strict=True):
                yield unit, row[list(prompt.scored)]
            return
        with torch.no_grad():
            found = tail_logits(model, ended[n_layers], tokens, [prompt.scored for prompt in prompts])
            for (unit, _, _), row in zip(rows, found, strict=True):
                yield unit, row

    def _beginning(self, layer: int, prompts: Sequence[Prompt]) -> AbstractContextManager[None]:
        if layer == 0:
            return nullcontext()
        several = list(dict.fromkeys(prompts))
        joined = Entered.joined([self._references.entered(prompt, layer) for prompt in several])
        return restarting(self._model, joined.rows([several.index(prompt) for prompt in prompts]))

    def _tail(self, prompt: Prompt) -> Logits:
        entered = self._references.entered(prompt, self._model.cfg.n_layers)
        tokens = torch.tensor([prompt.tokens], device=self._model.cfg.device)
        with torch.no_grad():
            (found,) = tail_logits(self._model, entered, tokens, [prompt.scored])
        return found

    def _plainly(self, prompt: Prompt) -> Logits:
        return plain_logits(self._model, prompt, BoundEdit([]))


def _apart(found: Logits, expected: Logits) -> str:
    return f"{difference(found, expected):.1e} of the largest logit"


def _told(fault: Exception) -> str:
    first = (str(fault).strip().splitlines() or [""])[0]
    return first if isinstance(fault, WorkbenchError) else f"{type(fault).__name__}: {first}"
