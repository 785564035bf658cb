"""Passes of many edits: those that share a layer as one batch, from that layer on, with logits where they are scored.

Each faster way is compared with a plain pass before anything is believed of it (`workbench.studies.passes.trust`):
the restart at a layer by a row without an edit in the first batch that begins there, a kind of site and method by a
plain pass of the first unit of theirs. Where one disagrees, or fails, its units run plainly, one at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from workbench.errors import WorkbenchError
from workbench.model import HookedModel
from workbench.restarting import lowest_layer
from workbench.studies.edits.edit import CORRUPT, Edit
from workbench.studies.edits.site import BoundEdit
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.passes.batches import Batches, Logits, Start
from workbench.studies.passes.plain import plain_logits
from workbench.studies.passes.prefixes import first_position
from workbench.studies.passes.trust import Trust, close, difference

TAIL = "tail"
"""Of `Trust`: logits at scored positions alone, from the last block's output."""

Pair = tuple["Unit", BoundEdit]


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
        self._batches = Batches(model)
        self.trust = Trust() if trust is None else trust

    def baseline(self, prompt: Prompt) -> Logits:
        """The unedited model's logits at a prompt's scored positions."""
        if not self._reuse or self.trust.off(TAIL):
            return self._plainly(prompt)
        if self.trust.tried(TAIL):
            return self._batches.tail(prompt)
        plain = self._plainly(prompt)
        try:
            found = self._batches.tail(prompt)
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
        rest: list[Pair] = []
        for unit in units:
            if unit.edit.unedited:
                yield unit, self.baseline(unit.prompt.corrupted if unit.edit.family == CORRUPT else unit.prompt)
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
        for start, pairs in self._starts(together):
            yield from self._tried(start, pairs)
        for pair in rest:
            if not self._stackable(pair[1]):
                yield from self._tried(Start(self._layer([pair])), [pair])

    def _starts(self, pairs: Sequence[Pair]) -> Iterator[tuple[Start, list[Pair]]]:
        """Batches, and where each begins: at a layer together, or prompt by prompt at a position as well."""
        if not pairs:
            return
        layer = self._layer(pairs)
        whole: list[Pair] = []
        by_prompt: dict[Prompt, list[Pair]] = defaultdict(list)
        for pair in pairs:
            by_prompt[pair[0].prompt].append(pair)
        for group in by_prompt.values():
            start = Start(layer, first_position([(unit.edit, unit.prompt) for unit, _ in group]))
            later = start.position > 0 and not any(self._off(start, unit) for unit, _ in group)
            if later and self._begins_well(start, group[0][0].prompt):
                yield start, group
            else:
                whole += group
        if whole:
            yield Start(layer), whole

    def _stackable(self, bound: BoundEdit) -> bool:
        n_layers = self._model.cfg.n_layers
        behind = any(lowest_layer([name], n_layers) == n_layers for name in self._names(bound))
        return bound.whole is None and not behind and not self.trust.off(TAIL)

    def _names(self, bound: BoundEdit) -> list[str]:
        return [name for pattern, _ in bound.hooks for name in self._model.points.select(pattern)]

    def _layer(self, pairs: Sequence[Pair]) -> int:
        """Where a batch may begin. A context may touch anything from the lowest layer of its targets on."""
        n_layers = self._model.cfg.n_layers
        lowest = [lowest_layer(self._names(bound), n_layers) for _, bound in pairs]
        return min(*lowest, *(unit.edit.layer for unit, bound in pairs if bound.whole is not None), n_layers)

    def _tried(self, start: Start, pairs: Sequence[Pair]) -> Iterator[tuple[Unit, Logits]]:
        """Units as one batch where that is trusted, after trying it where it is not known; else plainly."""
        left = {id(unit): unit for unit, _ in pairs}
        failed: Exception | None = None
        wanted = [pair for pair in pairs if not self._off(start, pair[0])]
        new = {unit.kind: unit for unit, _ in reversed(wanted) if not self.trust.tried((start.way[2], unit.kind))}
        # What is to be compared comes first, so that nothing else is believed before.
        wanted.sort(key=lambda pair: new.get(pair[0].kind) is not pair[0])
        if wanted and self._begins_well(start, wanted[0][0].prompt):
            expected = {id(unit): plain_logits(self._model, unit.prompt, unit.bind()) for unit in new.values()}
            try:
                found = self._batches.run(
                    start,
                    [(unit.prompt, bound) for unit, bound in wanted],
                    at_once=not all(self._stackable(bound) for _, bound in wanted),
                )
                for (unit, _), logits in zip(wanted, found, strict=True):
                    if id(unit) in expected:
                        self._compare(start, unit, logits, expected[id(unit)])
                    if not self._off(start, unit):
                        del left[id(unit)]
                        yield unit, logits
            except Exception as fault:  # an edit's own mistake comes again in the plain pass, and is told from there
                failed = fault
        for unit in left.values():
            yield unit, plain_logits(self._model, unit.prompt, unit.bind())
        if failed is not None:
            for unit, _ in wanted:
                told = f"{unit.told} from {start} on cannot be run as a batch: {_told(failed)}"
                self.trust.switch_off((start.way, unit.kind), told)

    def _off(self, start: Start, unit: Unit) -> bool:
        later = start.way[2]
        return any(self.trust.off(key) for key in (start.way, (later, unit.kind), (start.way, unit.kind)))

    def _compare(self, start: Start, unit: Unit, logits: Logits, expected: Logits) -> None:
        key = (start.way[2], unit.kind)
        if close(logits, expected):
            self.trust.agree(key)
        else:
            told = f"{unit.told} from {start} on differs from a plain pass by {_apart(logits, expected)}"
            self.trust.switch_off(key, f"{told} ({unit.edit.label}).")

    def _begins_well(self, start: Start, prompt: Prompt) -> bool:
        """Whether passes may begin there; the first that would is compared with the unedited model."""
        if start == Start(0) or self.trust.tried(start.way):
            return True
        expected = self.baseline(prompt)
        try:
            (found,) = self._batches.run(start, [(prompt, BoundEdit([]))], at_once=self.trust.off(TAIL))
        except Exception as fault:  # whatever a family does there, plain passes are right
            self.trust.switch_off(start.way, f"Nothing can begin at {start}: {_told(fault)}")
            return False
        if close(found, expected):
            self.trust.agree(start.way)
        else:
            self.trust.switch_off(start.way, f"A pass from {start} on differs by {_apart(found, expected)}.")
        return self.trust.tried(start.way)

    def _plainly(self, prompt: Prompt) -> Logits:
        return plain_logits(self._model, prompt, BoundEdit([]))


def _apart(found: Logits, expected: Logits) -> str:
    return f"{difference(found, expected):.1e} of the largest logit"


def _told(fault: Exception) -> str:
    first = (str(fault).strip().splitlines() or [""])[0]
    return first if isinstance(fault, WorkbenchError) else f"{type(fault).__name__}: {first}"
