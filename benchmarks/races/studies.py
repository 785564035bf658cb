"""A study's sweep over every head and MLP against the plain loop with hooks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import models
from benchmarks.race import Contestant, Race
from benchmarks.records import Target

if TYPE_CHECKING:
    from workbench.model import HookedModel
    from workbench.studies.edits.edit import Edit
    from workbench.studies.inputs.prompt import Prompt
    from workbench.studies.passes.sweeping import Unit

LOOP, OURS = "a loop with hooks", "workbench study"
BATCH_TOKENS = 1024


def races() -> tuple[Race, ...]:
    """SmolLM2's 270 heads and 30 MLPs."""
    return (race("SmolLM2-135M", partial(models.smollm2, "sdpa"), vocabulary=49_000),)


def race(
    label: str,
    make: Callable[[], Any],
    *,
    prompts: int = 1,
    length: int = 100,
    vocabulary: int = models.GPT2_VOCABULARY,
) -> Race:
    """Zero every head and every MLP, one at a time, and measure the loss at the second half of the positions.

    Args:
        make: a stock model.
        vocabulary: tokens are drawn from so many.
    """
    many = "one prompt" if prompts == 1 else f"{prompts} prompts"
    inputs = partial(_prompts, prompts, length, vocabulary)
    return Race(
        name="study-sweep",
        title=f"A study: every head and MLP of {label} zeroed, {many}",
        shapes=f"{many} of {length} random tokens, {length // 2} of them scored; chunks of at most {BATCH_TOKENS:,} "
        "tokens",
        contestants=(
            Contestant(
                LOOP,
                "`model.run_with_hooks(tokens, fwd_hooks=...)` for one edit after the other, all logits, and the loss",
                partial(_loop, make, inputs),
                None,
            ),
            Contestant(
                OURS,
                "what a study's worker does with these edits: those of a layer as one batch, from that layer on, "
                "logits where they are scored; the unedited pass that they begin from included",
                partial(_ours, make, inputs),
            ),
        ),
        budget=1.0,
        least=2,
        most=2,
        warm_up=0,
        targets=(
            Target(side=OURS, quantity="ratio", at_most=1 / 1.9),
            Target(side=OURS, quantity="memory_ratio", at_most=2.0),
        ),
        oracle=lambda: _loop(make, inputs)(),
        error_against="the loss of each unit from the loop",
        notes="Under `torch.no_grad()`. The layers from an edit on have to be computed again, which bounds the gain at "
        "about 2 for edits spread evenly over the layers; scoring fewer positions raises it. Untimed: comparing each "
        "layer's restart with a plain pass, which a study's worker does once a layer, whatever the number of prompts.",
        memory=True,
    )


def _prompts(count: int, length: int, vocabulary: int) -> list[Prompt]:
    from workbench.studies.inputs.prompt import Prompt

    scored = tuple(range(length - length // 2 - 1, length - 1))
    found = []
    for number in range(count):
        tokens = tuple(models.tokens(length, vocabulary, seed=number)[0].tolist())
        found.append(Prompt(tokens, scored, tuple(tokens[position + 1] for position in scored)))
    return found


def _edits(model: HookedModel) -> list[Edit]:
    """Every head and MLP, layer by layer."""
    import workbench.studies.edits  # noqa: F401 - registers the kinds
    from workbench.studies.edits.edit import Edit
    from workbench.studies.edits.method import METHODS
    from workbench.studies.edits.site import SITES

    zero = METHODS.parse("zero").canonical()
    kinds = [SITES.parse("heads"), SITES.parse("mlps")]
    found = [
        Edit("model", kind.word, (target,), kind.canonical(), zero) for kind in kinds for target in kind.targets(model)
    ]
    return sorted(found, key=lambda edit: edit.layer)


def _loop(make: Callable[[], Any], inputs: Callable[[], list[Prompt]]) -> Callable[[], Any]:
    import torch

    from workbench.studies.metrics import Loss

    model, prompts, loss = _hooked(make), inputs(), Loss()
    units = [(_unit(model, edit, prompt).bind().hooks, prompt) for prompt in prompts for edit in _edits(model)]

    def loop() -> Any:
        found = []
        for hooks, prompt in units:
            logits = model.run_with_hooks(torch.tensor([prompt.tokens]), fwd_hooks=hooks)
            scored = logits[0, list(prompt.scored)]
            found.append(loss.measure(scored, scored, prompt))
        return torch.tensor(found, dtype=torch.float64)

    return loop


def _ours(make: Callable[[], Any], inputs: Callable[[], list[Prompt]]) -> Callable[[], Any]:
    import torch

    from workbench.studies.metrics import Loss
    from workbench.studies.passes.sweeping import Passes

    model, prompts, loss = _hooked(make), inputs(), Loss()
    edits = _edits(model)
    rows = max(1, BATCH_TOKENS // len(prompts[0].tokens))
    chunks: list[list[Unit]] = []
    for prompt in prompts:
        for layer in range(model.cfg.n_layers):
            units = [_unit(model, edit, prompt) for edit in edits if edit.layer == layer]
            chunks.extend(units[start : start + rows] for start in range(0, len(units), rows))
    first = Passes(model)
    for chunk in chunks:
        list(first.logits(chunk[:1] + chunk[-1:]))  # so that every restart and both kinds of site have been compared
    assert not first.trust.reasons, first.trust.reasons

    def sweep() -> Any:
        passes = Passes(model, trust=first.trust)
        found = {
            (unit.edit.edit_id, unit.prompt.prompt_id): loss.measure(logits, logits, unit.prompt)
            for chunk in chunks
            for unit, logits in passes.logits(chunk)
        }
        return torch.tensor(
            [found[edit.edit_id, prompt.prompt_id] for prompt in prompts for edit in edits], dtype=torch.float64
        )

    return sweep


def _hooked(make: Callable[[], Any]) -> HookedModel:
    import workbench

    return workbench.load(make(), check=False)


def _unit(model: HookedModel, edit: Edit, prompt: Prompt) -> Unit:
    from workbench.studies.edits.binding import bind_edit
    from workbench.studies.engines.donors import WorkerDonors
    from workbench.studies.passes.sweeping import Unit

    donors = WorkerDonors(model, [prompt], "", None)  # zeros ask for none
    return Unit(edit, prompt, lambda: bind_edit(model, edit, prompt, donors))
