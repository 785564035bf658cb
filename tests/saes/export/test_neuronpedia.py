"""Rows as Neuronpedia's database takes them: every column it demands, of its type, and no row without its parent."""

import gzip
import json

import pytest
import torch

from tests.saes.export.stores import HOSTILE, MemoryStore
from workbench.errors import InputError
from workbench.saes import SaeConfig, SparseAutoencoder
from workbench.saes.autoencoder import weight_shapes
from workbench.saes.export import export_neuronpedia

# Columns of the public schema (apps/webapp/prisma/schema.prisma) that have no default or that its own exports carry.
TEXT, NUMBER, WHOLE, YES, TEXTS, NUMBERS, WHOLES = str, float, int, bool, [str], [float], [int]
COLUMNS = {
    "release": {"name": TEXT, "description": TEXT, "urls": TEXTS, "creatorName": TEXT, "creatorId": TEXT},
    "model": {
        "id": TEXT, "creatorId": TEXT, "layers": WHOLE, "neuronsPerLayer": WHOLE, "owner": TEXT, "instruct": YES,
        "displayName": TEXT,
    },
    "sourceset": {
        "modelId": TEXT, "name": TEXT, "description": TEXT, "creatorName": TEXT, "urls": TEXTS, "creatorId": TEXT,
        "releaseName": TEXT,
    },
    "source": {"id": TEXT, "modelId": TEXT, "setName": TEXT, "creatorId": TEXT, "hasDashboards": YES},
    "features": {
        "modelId": TEXT, "layer": TEXT, "index": TEXT, "sourceSetName": TEXT, "creatorId": TEXT, "maxActApprox": NUMBER,
        "hasVector": YES, "vector": NUMBERS, "vectorDefaultSteerStrength": NUMBER, "topkCosSimIndices": WHOLES,
        "topkCosSimValues": NUMBERS, "neuron_alignment_indices": WHOLES, "neuron_alignment_values": NUMBERS,
        "neuron_alignment_l1": NUMBERS, "correlated_neurons_indices": WHOLES, "correlated_neurons_pearson": NUMBERS,
        "correlated_neurons_l1": NUMBERS, "correlated_features_indices": WHOLES, "correlated_features_pearson": NUMBERS,
        "correlated_features_l1": NUMBERS, "neg_str": TEXTS, "neg_values": NUMBERS, "pos_str": TEXTS,
        "pos_values": NUMBERS, "frac_nonzero": NUMBER, "freq_hist_data_bar_heights": NUMBERS,
        "freq_hist_data_bar_values": NUMBERS, "logits_hist_data_bar_heights": NUMBERS,
        "logits_hist_data_bar_values": NUMBERS, "decoder_weights_dist": NUMBERS,
    },
    "activations": {
        "id": TEXT, "tokens": TEXTS, "index": TEXT, "layer": TEXT, "modelId": TEXT, "maxValue": NUMBER,
        "maxValueTokenIndex": WHOLE, "minValue": NUMBER, "values": NUMBERS, "creatorId": TEXT, "binMin": NUMBER,
        "binMax": NUMBER, "binContains": NUMBER, "qualifyingTokenIndex": WHOLE, "dfaValues": NUMBERS,
        "lossValues": NUMBERS,
    },
    "explanations": {
        "id": TEXT, "modelId": TEXT, "layer": TEXT, "index": TEXT, "description": TEXT, "authorId": TEXT,
    },
}  # fmt: skip
OPTIONAL = {
    "release": {
        "descriptionShort",
        "creatorNameShort",
        "visibility",
        "defaultSourceSetName",
        "defaultSourceId",
        "createdAt",
    },
    "model": {"displayNameShort", "visibility", "inferenceEnabled", "updatedAt", "createdAt"},
    "sourceset": {"type", "visibility", "hasDashboards", "allowInferenceSearch", "createdAt"},
    "source": {
        "inferenceEnabled",
        "visibility",
        "num_prompts",
        "num_tokens_in_prompt",
        "dataset",
        "notes",
        "createdAt",
    },
    "features": {"createdAt", "vectorLabel", "hookName"},
    "activations": {"dataIndex", "dataSource", "dfaTargetIndex", "dfaMaxValue", "logitContributions", "createdAt"},
    "explanations": {"typeName", "explanationModelName", "notes", "createdAt"},
}


def fits(value, kind):
    if isinstance(kind, list):
        return isinstance(value, list) and all(fits(one, kind[0]) for one in value)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def lines(file):
    data = file.read_bytes()
    text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


@pytest.fixture
def store():
    store = MemoryStore(labels={1: "months", 4: "an emoji 😀"})
    cfg = SaeConfig("standard", 6, 12, hook="blocks.2.hook_resid_post")
    store.sae = SparseAutoencoder(cfg, {name: torch.randn(shape) for name, shape in weight_shapes(cfg).items()})
    return store


def test_every_row_has_the_columns_of_the_schema_and_no_others(store, tmp_path):
    found = export_neuronpedia(store, tmp_path, release="my-release", source_set="res-zoo", layers=4)
    assert found.folder == tmp_path / "zoo-b-mamba-b" / "2-res-zoo"
    files = sorted(str(file.relative_to(found.folder)) for file in found.folder.rglob("*") if file.is_file())
    assert files == [
        "activations/batch-0.jsonl.gz", "explanations/batch-0.jsonl.gz", "features/batch-0.jsonl.gz", "model.jsonl",
        "release.jsonl", "source.jsonl", "sourceset.jsonl",
    ]  # fmt: skip
    tables = {name: found.folder / f"{name}.jsonl" for name in ("release", "model", "sourceset", "source")}
    tables |= {name: found.folder / name / "batch-0.jsonl.gz" for name in ("features", "activations", "explanations")}
    rows = {name: lines(file) for name, file in tables.items()}
    for name, records in rows.items():
        for record in records:
            for column, kind in COLUMNS[name].items():
                assert fits(record[column], kind), (name, column, record[column])
            assert set(record) - set(COLUMNS[name]) <= OPTIONAL[name], name
            assert "\\u0000" not in json.dumps(record)  # a database takes no null character
    assert (found.features, found.activations, found.explanations) == (12, 11 * 14, 2)
    keys = {(one["modelId"], one["layer"], one["index"]) for one in rows["features"]}
    assert len(keys) == 12
    for child in (*rows["activations"], *rows["explanations"]):
        assert (child["modelId"], child["layer"], child["index"]) in keys
    ids = [one["id"] for one in (*rows["activations"], *rows["explanations"])]
    assert len(set(ids)) == len(ids) and all(len(one) == 25 for one in ids)
    (source,), (group,), (release,) = rows["source"], rows["sourceset"], rows["release"]
    assert source["setName"] == group["name"] and group["releaseName"] == release["name"] == "my-release"
    assert {one["sourceSetName"] for one in rows["features"]} == {"res-zoo"}


def test_numbers_and_texts_are_the_stores(store, tmp_path):
    found = export_neuronpedia(store, tmp_path, [4, 2])
    two, four = lines(found.folder / "features" / "batch-0.jsonl.gz")
    assert (two["index"], four["index"]) == ("2", "4")
    assert four["maxActApprox"] == 7.0 and four["frac_nonzero"] == pytest.approx(80 / 4000)
    assert four["pos_str"] == HOSTILE[:3] and four["pos_values"] == [2.0, 1.0, 0.5]
    assert four["neg_values"] == [-1.5, -0.25]
    assert four["freq_hist_data_bar_values"] == [0.5, 1.5, 2.5] and four["freq_hist_data_bar_heights"] == [78, 1, 1]
    direction = store.sae.W_dec[4]
    assert four["vector"] == pytest.approx(direction.tolist(), abs=1e-4) and four["hookName"] == store.info.hook
    assert four["neuron_alignment_indices"] == direction.topk(3).indices.tolist()
    assert four["neuron_alignment_l1"][0] == pytest.approx(float(direction.max() / direction.abs().sum()), abs=1e-4)
    (text,) = lines(found.folder / "explanations" / "batch-0.jsonl.gz")
    assert text["description"] == "an emoji 😀"
    rows = [one for one in lines(found.folder / "activations" / "batch-0.jsonl.gz") if one["index"] == "4"]
    assert [one["binContains"] for one in rows] == [-1.0] * 7 + [1.0] * 7
    first = rows[0]
    assert first["maxValue"] == 7.0 == first["values"][first["maxValueTokenIndex"]]
    assert first["qualifyingTokenIndex"] == 1 and first["tokens"][1] == HOSTILE[4]
    assert first["tokens"][HOSTILE.index("\x00") + 2] == "␀"


def test_the_same_store_gives_the_same_bytes_and_nothing_is_overwritten(store, tmp_path):
    first, second = (export_neuronpedia(store, tmp_path / name).folder for name in ("a", "b"))
    for file in first.rglob("*.jsonl*"):
        assert file.read_bytes() == (second / file.relative_to(first)).read_bytes()
    with pytest.raises(InputError, match="exists; choose another"):
        export_neuronpedia(store, tmp_path / "a")


def test_an_export_that_fails_leaves_nothing(store, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "histogram", lambda feature: {}[feature])
    with pytest.raises(KeyError):
        export_neuronpedia(store, tmp_path)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
    for options, says in (
        ({"release": "my release"}, "release is 'my release'"),
        ({"model_id": "Zoo/Mamba"}, "model_id is 'Zoo/Mamba'"),
        ({"features": [77]}, "no feature 77"),
    ):
        with pytest.raises(InputError, match=says):
            export_neuronpedia(store, tmp_path, **options)
