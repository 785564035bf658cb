"""An ablation as a study: what the page asks, the study that answers it, and running that on a model at hand."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.app.serving import Workspace
from workbench.app.views.heads import SMALL, pass_seconds
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.report.files import write_atomically
from workbench.sites import as_sites
from workbench.studies import Controls, Study, effects_table, read_results, run_with_model, study_text

FEATURE = "#"
"""Between an autoencoder and the number of one of its features: ``zoo:mamba/resid_post#12``."""

OWN_TEXT = "your prompt"
"""Inputs that are the prompt of the sidebar instead of a task."""

WINDOW = 64
"""Tokens a window of a long prompt: a prompt of two windows or more is cut into those."""

IN_MEMORY = "/dev/shm"
"""A folder without a disk: a study waits for the disk after each batch, and this one is let go when it is read."""

DRAWS = 19
"""Random controls, so that the smallest p is 1/20; with fewer nothing is said of p."""

MATCHES = ("auto", "same layers", "any layer")

MEASURES = ("loss", "accuracy", "probability", "entropy", "kl", "top1_change")
"""Measured on any input; those with wrong answers to compare with have `AGAINST_FOILS`, too."""

AGAINST_FOILS = ("logit_difference", "preference")

SETTINGS: dict[str, dict[str, Any]] = {"repeated_random_tokens": {"settings": {"block": 16}, "labels": ["second"]}}
"""Of tasks whose defaults are not what one looks at first: the first copy of random tokens nobody can predict."""


@dataclass(frozen=True)
class Asking:
    """What is to be ablated, and on what.

    Attributes:
        model: its source, as `workbench.load` takes it.
        chips: sites (``L1H2``, ``L0.mlp``) and features (``zoo:mamba/resid_post#12``).
        method: ``zero``, ``mean`` or ``resample``.
        inputs: a task's name, or `OWN_TEXT`.
        prompt: text of the sidebar.
        count: prompts of the task at most.
        match: where random controls come from (`MATCHES`); ``auto`` is the same layers where there are enough.
    """

    model: str
    chips: tuple[str, ...]
    method: str
    inputs: str
    prompt: str
    count: int = 12
    match: str = "auto"

    @property
    def sites(self) -> tuple[str, ...]:
        """The chips that are no features."""
        return tuple(chip for chip in self.chips if FEATURE not in chip)

    @property
    def features(self) -> dict[str, list[int]]:
        """Numbers of features, by the autoencoder that has them.

        Raises:
            InputError: a chip names none.
        """
        found: dict[str, list[int]] = {}
        for chip in self.chips:
            if FEATURE in chip:
                source, _, number = chip.rpartition(FEATURE)
                if not source or not number.isdigit():
                    raise InputError(f"{chip!r} is no feature; write its autoencoder and its number: SOURCE#12.")
                found.setdefault(source, []).append(int(number))
        return found

    @property
    def reads_workspace(self) -> bool:
        """Whether an autoencoder is one of the workspace, whose folder the study file then has to lie in."""
        return any(not source.startswith("zoo:") for source in self.features)

    @property
    def file(self) -> Path:
        """Where in the workspace the study is saved."""
        return Path(f"{self.name}.yaml") if self.reads_workspace else Path("studies") / f"{self.name}.yaml"

    @property
    def name(self) -> str:
        """Of the study and its files; of a task it is the same whatever the prompt, which a task does not read."""
        read = self if self.inputs == OWN_TEXT else replace(self, prompt="")
        asked = json.dumps(asdict(read), sort_keys=True).encode()
        return f"ablate-{hashlib.sha256(asked).hexdigest()[:10]}"

    @property
    def text_file(self) -> str:
        """Where the prompt lies beside the study file, where that reads it."""
        return f"texts/{hashlib.sha256(self.prompt.encode()).hexdigest()[:12]}.txt"


@dataclass(frozen=True)
class Measured:
    """A study that has been run.

    Attributes:
        study: it, as it can be saved and run again.
        effects: `effects_table` of it: an edit or random control a row, for every metric.
        units: an edit on a prompt a row, for every metric.
        notes: sentences about what is less than was asked for.
    """

    study: Study
    effects: pd.DataFrame
    units: pd.DataFrame
    notes: tuple[str, ...]


def run_ablation(model: HookedModel, asking: Asking, workspace: Workspace) -> Measured:
    """Run the study of an ablation on a model that is loaded; its results are read and let go.

    Raises:
        InputError: no chips, one that the model lacks, or a method that does not suit them; see `Study`, too.
    """
    memory = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="workbench-ablation-", dir=memory) as folder:
        run = Path(folder) / "run"
        base = workspace.root if asking.reads_workspace else Path(folder)
        write_inputs(asking, base)
        study, notes = settled(model, asking, base)
        run_with_model(study, model, run, base=base)
        results = read_results(run)
        failed = "; ".join(results.coverage.reasons)
        if failed:
            raise InputError(failed)
        return Measured(study, effects_table(results), results.frame, notes)


def seconds_for(model: HookedModel, asking: Asking, workspace: Workspace) -> float | None:
    """About how long `run_ablation` takes, in seconds, from a forward pass timed now; None for a small model.

    Small is told by parameters and not by a clock, so that a busy machine shows the same page.

    Raises:
        InputError: as `run_ablation`.
    """
    from workbench.studies.inputs.reading import read_prompts

    if sum(parameter.numel() for parameter in model.wrapped.parameters()) <= SMALL:
        return None
    with tempfile.TemporaryDirectory(prefix="workbench-ablation-") as folder:
        base = workspace.root if asking.reads_workspace else Path(folder)
        write_inputs(asking, base)
        prompts = read_prompts(draft(asking, _window(model, asking)), model, base)
    tokens = sum(len(prompt.tokens) for prompt in prompts)
    # Each component, all of them, random sets of as many, and two passes without an edit: for means, and to compare.
    passes = len(asking.chips) + (len(asking.chips) > 1) + DRAWS + 2
    return pass_seconds(model) * passes * tokens / 400


def write_inputs(asking: Asking, folder: Path) -> None:
    """Write what the study of an ablation reads besides its model: the prompt, where it is the input."""
    if asking.inputs == OWN_TEXT:
        file = folder / asking.text_file
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, asking.prompt)


def settled(model: HookedModel, asking: Asking, base: Path) -> tuple[Study, tuple[str, ...]]:
    """The study of an ablation, with what depends on the model: windows, metrics, where controls are drawn from."""
    from workbench.studies.edits.files import located
    from workbench.studies.inputs.reading import read_prompts

    study = draft(asking, _window(model, asking))
    prompts = read_prompts(study, model, base)
    if asking.method == "resample" and len(prompts) < 2:
        raise InputError(
            "Resampling puts in what another prompt of the same length holds, and there is one prompt only: "
            "choose mean or zero, a task, or a prompt of two windows."
        )
    metrics = [*MEASURES, *(AGAINST_FOILS if all(any(prompt.foils) for prompt in prompts) else ())]
    entries, notes = [], []
    for entry, placed in zip(study.edits, located(study, base).edits, strict=True):
        targets, pool = placed.sites.targets(model), placed.sites.pool(model)
        controls, note = _controls(asking, targets, pool)
        entries.append({**entry.model_dump(mode="json"), **({} if controls is None else {"controls": controls})})
        notes += [note] if note else []
    if len(prompts) == 1:
        notes.append("One prompt has no interval: choose a task, or a longer prompt, for more of them.")
    whole = study.model_dump(mode="json")
    return Study.model_validate({**whole, "metrics": metrics, "edits": entries}), tuple(notes)


def draft(asking: Asking, window: int | None) -> Study:
    """The study of an ablation without its random controls.

    Args:
        window: tokens a prompt, where the prompt's own text is the input; None of a task.

    Raises:
        InputError: no chips, or chips that overlap.
    """
    if not asking.chips:
        raise InputError("Nothing is to be ablated yet: choose a head, a mixer, an MLP, a layer or a feature.")
    entries = []
    if asking.sites:
        sites = [str(site) for site in as_sites(asking.sites)]
        entries.append(_entry("sites", {"kind": "listed", "sites": sites}, len(sites), asking.method))
    for number, (source, features) in enumerate(asking.features.items()):
        name = "features" if number == 0 else f"features-{number + 1}"
        kind = {"kind": "features", "sae": source, "features": sorted(set(features))}
        entries.append(_entry(name, kind, len(set(features)), asking.method))
    own = asking.inputs == OWN_TEXT
    inputs = {"text": asking.text_file, "length": window} if own else {"task": asking.inputs}
    return Study.model_validate(
        {
            "name": asking.name,
            "question": f"What changes without {', '.join(asking.chips)} ({asking.method} ablation)?",
            "seed": 1,
            "models": [{"id": asking.model}],
            "inputs": {**inputs, **({} if own else SETTINGS.get(asking.inputs, {})), "count": asking.count},
            "edits": entries,
            "metrics": list(MEASURES),
        }
    )


def study_file(study: Study, metric: str) -> str:
    """The study as a YAML file, with the metric that is looked at first."""
    metrics = sorted((one.name for one in study.metrics), key=lambda name: name != metric)
    whole = study.model_dump(mode="json")
    return study_text(Study.model_validate({**whole, "metrics": metrics}), defaults=False)


def _entry(name: str, sites: dict[str, Any], count: int, method: str) -> dict[str, Any]:
    search: Any = "each" if count == 1 else {"kind": "top", "k": count}  # each by itself, and all together
    return {"name": name, "sites": sites, "method": method, "search": search}


def _window(model: HookedModel, asking: Asking) -> int | None:
    if asking.inputs != OWN_TEXT:
        return None
    tokens = model.to_tokens(asking.prompt, prepend_bos=False).shape[1]
    if tokens < 2:
        raise InputError("The prompt has fewer than two tokens, so there is nothing to predict; write a longer one.")
    return WINDOW if tokens >= 2 * WINDOW else int(tokens)


def _controls(asking: Asking, targets: Sequence[Any], pool: Sequence[Any]) -> tuple[dict[str, Any] | None, str | None]:
    """Random controls as the study asks for them, and a sentence where there are few or none."""
    from workbench.studies.searches.controls import count_controls

    chosen = tuple(targets)
    alike: dict[str, list[Any]] = {"same layers": ["layer", "size"], "any layer": ["size"]}
    there = {name: count_controls(chosen, pool, Controls(draws=DRAWS, match=match)) for name, match in alike.items()}
    same, anywhere = alike
    chosen_match = asking.match
    if chosen_match not in alike:
        chosen_match = same if there[same] >= min(DRAWS, there[anywhere]) else anywhere
    count = there[chosen_match]
    label = " + ".join(target.label for target in chosen)
    if count == 0:
        where = f" in the same layers: choose {anywhere}" if there[anywhere] else ""
        return None, f"There are no random controls of {label}{where}."
    few = f"Only {count} different random control{'s exist' if count > 1 else ' exists'} for {label}"
    note = f"{few}, so p cannot be below {1 / (1 + count):.2g}." if count < DRAWS else None
    return {"draws": DRAWS, "match": alike[chosen_match]}, note
