"""A feature store as the files that Neuronpedia imports: a folder a source, gzipped JSON lines of its database rows."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from workbench.errors import InputError
from workbench.progress import tracked
from workbench.saes.export.bands import band_order, is_of_ranks
from workbench.saes.export.reader import FeatureReader, FeatureTables, chosen_features, with_tables

BATCH = 1024
"""Features a file, as in Neuronpedia's own exports."""

CREATOR = "clkht01d40000jv08hvalcvly"
"""The user that Neuronpedia's tools give imported rows to where nobody else is named."""

_CREATED = datetime(2024, 1, 1, tzinfo=UTC).isoformat()


@dataclass(frozen=True)
class NeuronpediaExport:
    """What was written.

    Attributes:
        folder: ``MODEL/SOURCE`` below the folder that was asked for.
        model_id, source_id: what they are called there.
        features, activations, explanations: rows.
    """

    folder: Path
    model_id: str
    source_id: str
    features: int
    activations: int
    explanations: int


def export_neuronpedia(
    store: FeatureReader,
    folder: Path | str,
    features: Sequence[int] | None = None,
    *,
    release: str = "workbench",
    source_set: str = "sae",
    creator: str = "workbench",
    creator_id: str = CREATOR,
    url: str | None = None,
    model_id: str | None = None,
    layers: int = 0,
    created: str = _CREATED,
    progress: bool = False,
) -> NeuronpediaExport:
    """Write a store as Neuronpedia's import format.

    Rows of its tables SourceRelease, Model, SourceSet, Source, Neuron, Activation and Explanation
    (``apps/webapp/prisma/schema.prisma`` of the public repository). Examples of the largest activations and of the
    bands of ranks go along, labels as explanations; random and silent texts have no place there. What its database
    does not hold is replaced: a null character by ``␀``, a lone surrogate by ``U+FFFD``.

    Args:
        store: a feature store.
        folder: ``MODEL/SOURCE`` is made in it, all at once or not at all.
        features: their numbers; all by default.
        release, source_set: names of letters, digits and dashes; the source is ``LAYER-SOURCE_SET``.
        creator, creator_id, url: who it is by.
        model_id: what the model is called there; by default its name in letters, digits and dashes.
        layers: layers of the model.
        created: time of creation in ISO 8601, a constant by default, so that the same store gives the same bytes.

    Raises:
        InputError: a name with other characters, a feature that is not there, or a folder that exists.
    """
    for what, name in (("release", release), ("source_set", source_set)):
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise InputError(f"{what} is {name!r}; Neuronpedia takes letters, digits, dashes and underscores.")
    info = store.info
    names = _Names(
        model=model_id or re.sub(r"[^a-z0-9_-]+", "-", str(info.model).lower()).strip("-"),
        layer=_layer(str(info.hook)),
        source_set=source_set,
        creator=creator_id,
        created=created,
        hook=str(info.hook),
    )
    if not re.fullmatch(r"[a-z0-9_-]{1,128}", names.model):
        raise InputError(f"model_id is {names.model!r}; Neuronpedia takes lower-case letters, digits and dashes.")
    target = Path(folder) / names.model / names.source
    if target.exists():
        raise InputError(f"{target} exists; choose another folder or source_set, or delete it.")
    wanted = chosen_features(store.features(), features).sort_values("feature")
    part = target.with_name(f".{target.name}.part")
    counts = {"features": 0, "activations": 0, "explanations": 0}
    try:
        shutil.rmtree(part, ignore_errors=True)  # what a killed export left
        part.mkdir(parents=True)
        for name, record in _heads(store, names, release, creator, url, layers).items():
            _write(part / f"{name}.jsonl", [record])
        vectors = _vectors(store)
        known: list[Any] = list(wanted.itertuples())
        rows = tracked(with_tables(store, known), progress, "exporting features", len(known))
        for batch, some in enumerate(_batches(rows)):
            lines: dict[str, list[dict[str, Any]]] = {name: [] for name in counts}
            for row, tables in some:
                vector = [] if vectors is None else [_number(value) for value in vectors[int(row.feature)].tolist()]
                lines["features"].append(_feature(tables, row, vector, names))
                lines["activations"] += _activations(tables, int(row.feature), names)
                lines["explanations"] += _explanations(row, names)
            for name, records in lines.items():
                counts[name] += len(records)
                (part / name).mkdir(exist_ok=True)
                _write(part / name / f"batch-{batch}.jsonl.gz", records)
        part.rename(target)
    except OSError as error:
        raise InputError(f"{target} could not be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return NeuronpediaExport(target, names.model, names.source, **counts)


@dataclass(frozen=True)
class _Names:
    """What every row repeats."""

    model: str
    layer: int
    source_set: str
    creator: str
    created: str
    hook: str

    @property
    def source(self) -> str:
        return f"{self.layer}-{self.source_set}"

    def of(self, feature: int) -> dict[str, Any]:
        """The columns that say which feature a row belongs to."""
        return {"modelId": self.model, "layer": self.source, "index": str(feature)}

    def identity(self, *parts: object) -> str:
        """An id of 25 characters as a cuid has, the same for the same row."""
        digest = hashlib.sha256(repr((self.model, self.source, *parts)).encode()).hexdigest()
        return f"w{digest[:24]}"


def _heads(
    store: FeatureReader, names: _Names, release: str, creator: str, url: str | None, layers: int
) -> dict[str, dict[str, Any]]:
    """The one-row tables."""
    info = store.info
    common = {"creatorId": names.creator, "createdAt": names.created}
    title = f"Sparse autoencoder at {info.hook} of {info.model}"
    urls = [] if url is None else [url]
    source = getattr(info, "source", {})
    return {
        "release": {
            "name": release,
            "description": title,
            "descriptionShort": title,
            "urls": urls,
            "creatorName": creator,
            "creatorNameShort": creator,
            "visibility": "PUBLIC",
            "defaultSourceSetName": names.source_set,
            "defaultSourceId": names.source,
            **common,
        },
        "model": {
            "id": names.model,
            "displayName": str(info.model),
            "displayNameShort": str(info.model),
            "instruct": False,
            "layers": layers,
            "neuronsPerLayer": 0,
            "owner": creator,
            "visibility": "PUBLIC",
            "inferenceEnabled": False,
            "updatedAt": names.created,
            **common,
        },
        "sourceset": {
            "modelId": names.model,
            "name": names.source_set,
            "description": title,
            "type": "",
            "creatorName": creator,
            "urls": urls,
            "releaseName": release,
            "visibility": "PUBLIC",
            "hasDashboards": True,
            "allowInferenceSearch": False,
            **common,
        },
        "source": {
            "id": names.source,
            "modelId": names.model,
            "setName": names.source_set,
            "hasDashboards": True,
            "inferenceEnabled": False,
            "visibility": "PUBLIC",
            "num_prompts": int(info.rows),
            "num_tokens_in_prompt": int(getattr(info, "length", 0)) or None,
            "dataset": json.dumps(source, default=str) if source else None,
            "notes": f"{int(info.tokens)} tokens, {int(info.d_sae)} features",
            **common,
        },
    }


def _feature(tables: FeatureTables, row: Any, vector: list[float], names: _Names) -> dict[str, Any]:
    feature = int(row.feature)
    logits = [(str(one.token), _number(one.effect)) for one in tables.logits(feature).itertuples()]
    raised = (len(logits) + 1) // 2  # by rank: a softmax does not see what is added to all logits alike
    up, down = logits[:raised], logits[raised:][::-1]
    histogram = tables.histogram(feature)
    near, partners = tables.neighbours(feature, "decoder"), tables.neighbours(feature, "firing")
    aligned = sorted(range(len(vector)), key=lambda place: -vector[place])[:3]
    total = sum(abs(value) for value in vector) or 1.0
    return {
        **names.of(feature),
        "sourceSetName": names.source_set,
        "creatorId": names.creator,
        "createdAt": names.created,
        "maxActApprox": _number(row.max),
        "hasVector": bool(vector),
        "vector": vector,
        "vectorLabel": None,
        "vectorDefaultSteerStrength": _number(row.max) or 10.0,
        "hookName": names.hook if vector else None,
        "topkCosSimIndices": [int(other) for other in near["feature"]],
        "topkCosSimValues": [_number(value) for value in near["cosine"]],
        "neuron_alignment_indices": aligned,
        "neuron_alignment_values": [vector[place] for place in aligned],
        "neuron_alignment_l1": [_number(abs(vector[place]) / total) for place in aligned],
        "correlated_neurons_indices": [],
        "correlated_neurons_pearson": [],
        "correlated_neurons_l1": [],
        "correlated_features_indices": [int(other) for other in partners["feature"]],
        "correlated_features_pearson": [_number(value) for value in partners["phi"]],
        "correlated_features_l1": [],
        "neg_str": [_text(token) for token, _ in down],
        "neg_values": [effect for _, effect in down],
        "pos_str": [_text(token) for token, _ in up],
        "pos_values": [effect for _, effect in up],
        "frac_nonzero": _number(row.density),
        "freq_hist_data_bar_heights": [float(count) for count in histogram["count"]],
        "freq_hist_data_bar_values": [
            _number((low + high) / 2) for low, high in zip(histogram["low"], histogram["high"], strict=True)
        ],
        "logits_hist_data_bar_heights": [],
        "logits_hist_data_bar_values": [],
        "decoder_weights_dist": [],
    }


def _batches(rows: Iterator[Any]) -> Iterator[list[Any]]:
    """As many features as a file has, again and again."""
    while some := list(islice(rows, BATCH)):
        yield some


def _vectors(store: FeatureReader) -> Tensor | None:
    """The directions that features write, where they are of whole vectors at every token; else nothing."""
    sae = getattr(store, "sae", None)
    if sae is None or sae.cfg.head is not None or sae.cfg.every > 1 or sae.basis is not None:
        return None
    directions: Tensor = sae.directions()
    return directions


def _activations(tables: FeatureTables, feature: int, names: _Names) -> list[dict[str, Any]]:
    examples = [one for one in tables.examples(feature) if one.band == "top" or is_of_ranks(one.band)]
    ranges: dict[str, list[float]] = {}
    for one in examples:
        ranges.setdefault(one.band, []).append(_number(one.value))
    quarters = sum(is_of_ranks(band) for band in ranges) or 1
    found = []
    for one in sorted(examples, key=lambda one: (band_order(one.band), one.rank)):
        values = [_number(value) for value in one.activations]
        top = one.band == "top"
        found.append(
            {
                "id": names.identity(feature, one.band, one.rank, one.row, one.position),
                **names.of(feature),
                "tokens": [_text(token) for token in one.tokens],
                "values": values,
                "maxValue": max(values),
                "maxValueTokenIndex": values.index(max(values)),
                "minValue": min(values),
                "qualifyingTokenIndex": int(one.position) - int(one.start),
                # Neuronpedia marks the strongest examples by -1 for an open end and for the share.
                "binMin": -1.0 if top else min(ranges[one.band]),
                "binMax": max(ranges[one.band]),
                "binContains": -1.0 if top else _number(1 / quarters),
                "dataIndex": str(one.row),
                "dataSource": None,
                "dfaValues": [],
                "dfaTargetIndex": None,
                "dfaMaxValue": None,
                "lossValues": [],
                "logitContributions": None,
                "creatorId": names.creator,
                "createdAt": names.created,
            }
        )
    return found


def _explanations(row: Any, names: _Names) -> list[dict[str, Any]]:
    label = row.label
    if label is None or label == "" or (isinstance(label, float) and math.isnan(label)):
        return []
    feature = int(row.feature)
    return [
        {
            "id": names.identity(feature, "label"),
            **names.of(feature),
            "description": _text(str(label)),
            "authorId": names.creator,
            "typeName": None,
            "explanationModelName": None,
            "notes": f"label by {row.source}",
            "createdAt": names.created,
        }
    ]


def _layer(hook: str) -> int:
    """The layer in a hook's name; 0 before the first and for what belongs to none."""
    found = re.match(r"blocks\.(\d+)\.", hook)
    return int(found[1]) if found else 0


def _text(token: str) -> str:
    """Text that a database and JSON take."""
    return token.replace("\x00", "␀").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _number(value: Any) -> float:
    """A number to six digits; 0 where there is none, as the columns are not optional."""
    number = float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else 0.0


def _write(file: Path, records: Iterable[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
    data = text.encode("utf-8")
    with file.open("wb") as handle:
        handle.write(gzip.compress(data, 5, mtime=0) if file.suffix == ".gz" else data)
        handle.flush()
        os.fsync(handle.fileno())
