"""What has to be known of each model before its part of a study can be planned: asked once, then written down."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from workbench.errors import InputError
from workbench.studies.edits.site import Target
from workbench.studies.identity import digest, model_digest
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.planning.costs import Costs, costs_of, model_costs
from workbench.studies.schema.study import ModelEntry, Study
from workbench.studies.store.records import target_of

if TYPE_CHECKING:
    from workbench.model import HookedModel


@dataclass(frozen=True)
class Survey:
    """One model of a study.

    Attributes:
        digest: of its weights.
        dtype: of its weights, as torch calls it.
        prompts: what it reads, in order.
        targets: of each entry of edits that is meant for it, in the order of the forward pass.
        pools: what random controls are drawn from, of the entries that have controls.
        scores: of the targets, by label, for entries whose search asks for a score.
    """

    digest: str
    dtype: str
    prompts: tuple[Prompt, ...]
    targets: Mapping[str, tuple[Target, ...]]
    pools: Mapping[str, tuple[Target, ...]]
    scores: Mapping[str, Mapping[str, float]]
    costs: Costs

    def as_json(self) -> dict[str, Any]:
        """All but the prompts, which the journal keeps by themselves."""
        return {
            "digest": self.digest,
            "dtype": self.dtype,
            "targets": {name: [asdict(target) for target in targets] for name, targets in self.targets.items()},
            "pools": {name: [asdict(target) for target in targets] for name, targets in self.pools.items()},
            "scores": {name: dict(scores) for name, scores in self.scores.items()},
            "costs": self.costs.as_json(),
        }


def survey_of(given: Mapping[str, Any], prompts: Sequence[Prompt]) -> Survey:
    """The survey that `Survey.as_json` gave, with its prompts."""
    return Survey(
        digest=given["digest"],
        dtype=given["dtype"],
        prompts=tuple(prompts),
        targets={name: tuple(target_of(t) for t in targets) for name, targets in given["targets"].items()},
        pools={name: tuple(target_of(t) for t in targets) for name, targets in given["pools"].items()},
        scores=given["scores"],
        costs=costs_of(given["costs"]),
    )


Surveyor: TypeAlias = Callable[[Study, ModelEntry, Path], Survey]
"""From a study, one of its models and the folder that its paths are relative to."""


def survey_model(study: Study, entry: ModelEntry, base: Path) -> Survey:
    """Load a model, list what the study edits and reads in it, and let it go again.

    Raises:
        LoadError: it cannot be loaded.
        InputError: nothing matches a kind of site, the prompts do not suit, or a score cannot be had.
    """
    from workbench.studies.loading import load_model

    model = load_model(entry)
    try:
        return survey_loaded(study, entry, base, model)
    finally:
        # Workers load it themselves: two copies would be one too many.
        model.unwrap()
        del model
        gc.collect()


def survey_loaded(study: Study, entry: ModelEntry, base: Path, model: HookedModel) -> Survey:
    """List what the study edits and reads in a model that is loaded. Raises InputError as `survey_model`."""
    from workbench.studies.edits.binding import check_edits
    from workbench.studies.inputs.reading import read_prompts

    prompts = read_prompts(study, model, base)
    targets: dict[str, tuple[Target, ...]] = {}
    pools: dict[str, tuple[Target, ...]] = {}
    scores: dict[str, dict[str, float]] = {}
    for edits in study.edits:
        if edits.models is not None and entry.label not in edits.models:
            continue
        with _naming(edits.name, entry.label):
            found = edits.sites.targets(model)
            check_edits(model, edits.sites, edits.method, found, edits.positions, prompts)
            targets[edits.name] = tuple(found)
            if edits.controls is not None:
                pools[edits.name] = tuple(edits.sites.pool(model))
            if edits.search.score is not None:
                numbers = edits.search.score.scores(model, found, study.seed)
                scores[edits.name] = {target.label: number for target, number in zip(found, numbers, strict=True)}
    return Survey(
        digest=model_digest(model),
        dtype=str(model.cfg.dtype).removeprefix("torch."),
        prompts=tuple(prompts),
        targets=targets,
        pools=pools,
        scores=scores,
        costs=model_costs(model),
    )


@contextmanager
def _naming(edits: str, model: str) -> Iterator[None]:
    """Say of bad input which edits of which model it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"edits {edits!r} of {model}: {error}") from error


def survey_all(
    study: Study, base: Path, surveyor: Surveyor = survey_model, progress: bool = False
) -> dict[str, Survey]:
    """Every model of a study, by its name in it."""
    from workbench.progress import tracked

    found = {}
    for entry in tracked(study.models, progress, "loading models to plan"):
        found[entry.label] = surveyor(study, entry, base)
        if not found[entry.label].prompts:
            raise InputError(f"{entry.label} is given no prompt; the study's inputs are empty.")
    return found


def inputs_digest(study: Study, base: Path) -> str:
    """128 bits of the files that a study reads besides its models; the same for a study that reads none."""
    from workbench.studies.schema.paths import inside, paths_of

    places = [(path, inside(base, path)) for _, path in paths_of(study)]
    files = [
        (path / file.relative_to(place), file)
        for path, place in places
        for file in (sorted(f for f in place.rglob("*") if f.is_file()) if place.is_dir() else [place])
    ]
    total = hashlib.blake2b(digest_size=16)
    for path, file in files:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise InputError(f"The study reads {file}, which cannot be read: {error.strerror or error}.") from error
        total.update(digest([path.as_posix(), len(content)]).encode())
        total.update(content)
    return total.hexdigest()
