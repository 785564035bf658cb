"""The study file: its keys, what they may hold, and the rules between them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    JsonValue,
    SerializeAsAny,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from workbench.errors import InputError, offer
from workbench.studies.edits.edit import UNEDITED
from workbench.studies.edits.method import METHODS, MethodKind
from workbench.studies.edits.site import SITES, SiteKind
from workbench.studies.kinds import AnyPath, Strict
from workbench.studies.metrics.metric import METRICS, MetricKind
from workbench.studies.searches.search import SEARCHES, SearchKind

FORMAT: Literal[1] = 1


def _name(given: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", given):
        raise ValueError(f"{given!r} is no name: letters, digits, _ . - (80 at most, a letter or digit first)")
    return given


Name: TypeAlias = Annotated[str, AfterValidator(_name)]
"""Of a study or of an entry: letters, digits, ``_ . -``; it becomes a folder's or a column's name."""


class ModelEntry(Strict):
    """A model. In the file, its id alone will do."""

    id: str = Field(min_length=1)
    """``zoo:NAME``, a local directory, a .gguf file, or a Hugging Face id."""
    name: Name | None = None
    """In tables; by default the last part of the id."""
    revision: str | None = None
    dtype: Literal["float32", "float64", "bfloat16", "float16"] | None = None
    device: str | None = None
    """Of a worker that has several to choose from: cpu, cuda, cuda:1; by default its own."""
    device_map: str | dict[str, int | str] | None = None
    """How one worker spreads a model that no single device holds, as in transformers: ``auto``."""
    trust_pickle: bool = False

    @field_validator("id")
    @classmethod
    def _in_the_zoo(cls, given: str) -> str:
        if given.startswith("zoo:"):
            from workbench.zoo.loading import available

            name, members = given.removeprefix("zoo:"), available()
            if name not in members:
                raise ValueError(f"the zoo has no member {name!r}; {offer(name, members)}")
        return given

    @property
    def label(self) -> str:
        """`name`, or what stands for it."""
        return self.name or re.sub(r"[^A-Za-z0-9_.-]+", "-", self.id.rstrip("/").split("/")[-1].split(":")[-1])


class Split(Strict):
    """Shares of the prompts that serve to find things and to confirm them; whole groups go to one side."""

    discover: float = Field(default=0.5, gt=0, lt=1)
    confirm: float = Field(default=0.5, gt=0, lt=1)


class _Inputs(Strict):
    count: int = Field(default=64, ge=1)
    """Prompts at most (of a text, windows evenly spread)."""
    split: Split | None = None
    """None: every prompt serves for both."""


class TaskInputs(_Inputs):
    """Prompts of a built-in task."""

    task: str
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    labels: list[str] | None = Field(default=None, min_length=1)
    """Kinds of position that are scored, as the task calls them (``second``); all by default."""

    @model_validator(mode="after")
    def _known(self) -> TaskInputs:
        from workbench.tasks.registry import describe_task

        try:
            known = [option.name for option in describe_task(self.task).options if option.name not in ("batch", "seed")]
        except InputError as error:
            _refuse([(("task",), str(error).rstrip("."))])
        else:
            instead = {"batch": "count: says how many prompts there are", "seed": "the study has a seed:"}
            said = {
                key: instead.get(key, f"task {self.task!r} has no such option; {offer(key, known)}")
                for key in self.settings
                if key not in known
            }
            _refuse([(("settings", key), text) for key, text in said.items()])
        return self


class TextInputs(_Inputs):
    """Windows of text; every position predicts the next token."""

    text: AnyPath
    """A UTF-8 file, or a folder of .txt files, relative to the study file and not outside its folder."""
    length: int = Field(default=128, ge=2)


class PromptInputs(_Inputs):
    """Prompts of one's own: a .jsonl file with prompt, answer, and optionally foil, corrupt and group."""

    prompts: AnyPath


def _which_inputs(given: Any) -> str:
    keys = given if isinstance(given, dict) else getattr(type(given), "model_fields", {})
    return f"<{next((key for key in ('task', 'text', 'prompts') if key in keys), 'task')}>"


Inputs: TypeAlias = Annotated[
    Annotated[TaskInputs, Tag("<task>")]
    | Annotated[TextInputs, Tag("<text>")]
    | Annotated[PromptInputs, Tag("<prompts>")],
    Discriminator(_which_inputs),
]


Matched: TypeAlias = Literal["layer", "size"]


class Controls(Strict):
    """Random sets of targets, as many and as large and in the same layers as what a search ended with."""

    draws: int = Field(default=99, ge=1)
    match: list[Matched] = Field(default_factory=lambda: list(get_args(Matched)))


class EditsEntry(Strict):
    """Edits that belong together: one family of hypotheses."""

    name: Name
    sites: Annotated[SerializeAsAny[SiteKind], SITES.field()]
    method: Annotated[SerializeAsAny[MethodKind], METHODS.field()]
    search: Annotated[SerializeAsAny[SearchKind], SEARCHES.field(), Field(validate_default=True)] = "each"  # type: ignore[assignment]
    metric: str | None = None
    """The metric that a search goes by; by default the study's first."""
    positions: Literal["scored", "last"] | list[int] | None = None
    """Where the edit acts; everywhere by default. Negative numbers count from the end."""
    controls: Controls | None = None
    models: list[str] | None = None
    """Labels of the models it is meant for; all by default."""


class Statistics(Strict):
    """How results are judged."""

    level: float = Field(default=0.95, gt=0, lt=1)
    resamples: int = Field(default=10_000, ge=100)
    interval: Literal["bootstrap-t", "percentile"] = "bootstrap-t"
    q: float = Field(default=0.05, gt=0, lt=1)
    """False discovery rate of Benjamini and Hochberg's procedure, within each entry of edits and metric."""


class Run(Strict):
    """How it is run: nothing here changes a result, and all of it may be changed between runs."""

    engine: Literal["local", "ray"] = "local"
    workers: int = Field(default=1, ge=1)
    threads: int = Field(default=1, ge=1)
    """Of each worker. (Another number changes sums in their last bits; the report says where numbers are mixed.)"""
    address: str | None = None
    """Of a Ray cluster: ``auto``, ``ray://host:10001``; by default one of this machine's own."""
    gpus_per_worker: int | None = Field(default=None, ge=0)
    """Of each Ray worker; by default one, where the cluster has any. ``device_map: auto`` wants several."""
    retries: int = Field(default=2, ge=0)
    """Of a chunk whose worker died."""
    batch_tokens: int = Field(default=1024, ge=1)
    """Tokens that a chunk's batch holds, edits times prompts times length. Fixed by the plan."""
    reuse: bool = True
    """Layers and tokens before an edit are computed once."""
    verify: int = Field(default=0, ge=0)
    """So many random units are computed again plainly, one at a time, and compared."""


def _models(given: Any) -> Any:
    listed = given if isinstance(given, list) else [given]
    return [{"id": one} if isinstance(one, str) else one for one in listed]


class Study(Strict):
    """A whole study."""

    version: Literal[1] = FORMAT
    name: Name
    question: str = ""
    """What it is to answer, in a sentence: the report begins with it."""
    seed: int = Field(default=0, ge=0)
    models: Annotated[list[ModelEntry], BeforeValidator(_models), Field(min_length=1)]
    inputs: Inputs
    edits: list[EditsEntry] = Field(min_length=1)
    metrics: list[Annotated[SerializeAsAny[MetricKind], METRICS.field()]] = Field(min_length=1)
    statistics: Statistics = Statistics()
    run: Run = Run()

    @field_validator("models")
    @classmethod
    def _models_differ(cls, models: list[ModelEntry]) -> list[ModelEntry]:
        labels = [model.label for model in models]
        _refuse(
            [
                ((number,), f"two models are called {labels[number]!r}; give one of them a name:")
                for number in _again(labels)
            ]
        )
        return models

    @field_validator("metrics")
    @classmethod
    def _metrics_differ(cls, metrics: list[MetricKind]) -> list[MetricKind]:
        names = [metric.name for metric in metrics]
        _refuse([((number,), f"the metric {names[number]} is listed twice") for number in _again(names)])
        return metrics

    @field_validator("edits")
    @classmethod
    def _edits_differ(cls, edits: list[EditsEntry]) -> list[EditsEntry]:
        names = [entry.name for entry in edits]
        wrong: list[_Wrong] = [
            ((number, "name"), f"two entries of edits are called {names[number]!r}") for number in _again(names)
        ]
        wrong += [
            ((number, "name"), f"{name!r} is what the unedited run is called; choose another name")
            for number, name in enumerate(names)
            if name in UNEDITED
        ]
        _refuse(wrong)
        return edits

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        metrics = [metric.name for metric in self.metrics]
        labels = [model.label for model in self.models]
        wrong: list[_Wrong] = []
        for number, entry in enumerate(self.edits):
            if entry.metric is not None and entry.metric not in metrics:
                said = f"the study does not measure {entry.metric!r}; {offer(entry.metric, metrics)}"
                wrong.append((("edits", number, "metric"), said))
            for place, label in enumerate(entry.models or []):
                if label not in labels:
                    said = f"no model of the study is called {label!r}; {offer(label, labels)}"
                    wrong.append((("edits", number, "models", place), said))
        _refuse(wrong)
        return self


_Wrong: TypeAlias = tuple[tuple[str | int, ...], str]


def _refuse(wrong: list[_Wrong]) -> None:
    """Say what is wrong at several places at once."""
    if wrong:
        details = [
            InitErrorDetails(type=PydanticCustomError("study", "{said}", {"said": said}), loc=place, input=None)
            for place, said in wrong
        ]
        raise ValidationError.from_exception_data("Study", details)


def _again(names: list[str]) -> list[int]:
    """Numbers of the names that stood before."""
    return [number for number, name in enumerate(names) if name in names[:number]]
