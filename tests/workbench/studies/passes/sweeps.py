"""Edits and prompts for the tests of passes, and the oracle: every unit by itself, in a plain pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

import workbench.studies.edits  # noqa: F401 - registers the kinds
from workbench.hooks import HookFunction
from workbench.model import HookedModel
from workbench.studies.edits.binding import bind_edit
from workbench.studies.edits.edit import Edit
from workbench.studies.edits.method import METHODS
from workbench.studies.edits.site import SITES, BoundEdit, Target
from workbench.studies.engines.donors import WorkerDonors
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.passes.sweeping import Passes, Unit

TIME = 24


def prompts_of(model: HookedModel, count: int = 3, time: int = TIME) -> list[Prompt]:
    """Prompts of one length, scored at different positions, each with a corrupt version."""
    generator = torch.Generator().manual_seed(3)

    def drawn() -> tuple[int, ...]:
        return tuple(torch.randint(3, model.cfg.d_vocab, (time,), generator=generator).tolist())

    places = [(4, 11, 20, time - 1), (time // 2, time - 2, time - 1), tuple(range(3, time))]
    return [
        Prompt(drawn(), scored, tuple(range(3, 3 + len(scored))), corrupt=drawn(), number=number)
        for number, scored in zip(range(count), places * count, strict=False)
    ]


def edits_of(model: HookedModel, layers: Sequence[int]) -> list[Edit]:
    """A mix for each layer: heads, mixer, MLP and what they write; zeros, means, patches, other prompts."""
    found = []
    for site, method, number in (
        ("heads", "zero", 0),
        ("heads", "mean", 1),
        ("mixers", "resample", 0),
        ("mlps", "patch", 0),
    ):
        kind = SITES.parse(site)
        for layer in layers:
            targets = [target for target in kind.targets(model) if target.layer == layer]
            if targets:
                target = targets[min(number, len(targets) - 1)]
                found.append(
                    Edit("m", site, (target,), kind.canonical(), METHODS.parse(method).canonical(), seed=number)
                )
    return found


def units_of(model: HookedModel, edits: Sequence[Edit], prompts: Sequence[Prompt]) -> list[Unit]:
    # Of the same prompts always, so that there are others to take activations from.
    donors = WorkerDonors(model, prompts_of(model, time=len(prompts[0].tokens)), "", None)

    def unit(edit: Edit, prompt: Prompt) -> Unit:
        return Unit(edit, prompt, lambda: bind_edit(model, edit, prompt, donors))

    return [unit(edit, prompt) for edit in edits for prompt in prompts]


def unit_of(
    prompt: Prompt,
    hooks: list[tuple[str, HookFunction]],
    *,
    layer: int = 0,
    whole: Callable[[], AbstractContextManager[Any]] | None = None,
    positions: tuple[int, ...] | None = None,
    kind: str = "own",
) -> Unit:
    """A unit with hooks of its own."""
    target = Target(f"L{layer}", "", layer)
    edit = Edit("m", kind, (target,), {"kind": kind}, {"kind": "own"}, positions=positions)
    return Unit(edit, prompt, lambda: BoundEdit(hooks, None if whole is None else whole()))


def plain(model: HookedModel, unit: Unit) -> Tensor:
    """The oracle: `run_with_hooks` on the prompt alone, all logits."""
    bound = unit.bind()
    tokens = torch.tensor([unit.prompt.tokens])
    with torch.no_grad():
        if bound.whole is not None:
            with bound.whole:
                logits = model(tokens)
        else:
            logits = model.run_with_hooks(tokens, fwd_hooks=bound.hooks)
    return logits[0, list(unit.prompt.scored)]


def check(model: HookedModel, passes: Passes, units: Sequence[Unit], limit: float = 1e-5) -> None:
    """Every unit comes once, with the logits of its plain pass, and the losses are in the same order."""
    found = {id(unit): logits for unit, logits in passes.logits(units)}
    assert len(found) == len(units)
    losses = []
    for unit in units:
        expected = plain(model, unit)
        actual = found[id(unit)]
        assert actual.shape == expected.shape
        assert (actual - expected).abs().max() <= limit * expected.abs().max(), unit.edit.label
        losses.append([loss(logits, unit.prompt) for logits in (actual, expected)])
    actual_losses, expected_losses = torch.tensor(losses, dtype=torch.float64).T
    assert (actual_losses - expected_losses).abs().max() <= limit * max(1.0, float(expected_losses.max()))
    assert actual_losses.argsort(stable=True).tolist() == expected_losses.argsort(stable=True).tolist()


def loss(logits: Tensor, prompt: Prompt) -> float:
    answers = torch.tensor(prompt.answers)
    return float(torch.nn.functional.cross_entropy(logits.double(), answers))
