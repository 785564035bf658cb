import gzip
import json

import pytest
import torch

import workbench as wb
from tests.workbench.test_report import Dom
from workbench.saes import SaeConfig, SparseAutoencoder, collect_features
from workbench.saes.autoencoder import weight_shapes

TEXT = "Fellow citizens of the Senate </script><b>and</b> of the House\u202e, the state of the Union is good. " * 6


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A real store: random features of a zoo member on hostile text."""
    model = wb.load("zoo:gla")
    cfg = SaeConfig("topk", 128, 24, k=3, hook="blocks.2.hook_resid_post", model_name="zoo:gla")
    generator = torch.Generator().manual_seed(0)
    shapes = weight_shapes(cfg)
    sae = SparseAutoencoder(cfg, {name: torch.randn(shapes[name], generator=generator) / 5 for name in shapes})
    found = collect_features(model, sae, [TEXT], tmp_path_factory.mktemp("stores") / "gla", length=32)
    found.labels.set(5, "</script> a label\u202e", source="human")
    return found


def test_a_real_store_becomes_a_page_and_neuronpedias_files(run, store, tmp_path):
    places = ["--html", tmp_path / "page.html", "--neuronpedia", tmp_path / "np", "--json", tmp_path / "out.json"]
    result = run("sae", "export", store.folder, *places, "--release", "tests", "--source-set", "res-gla")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["html"]["features"] == 24 and found["html"]["bytes"] == (tmp_path / "page.html").stat().st_size
    data = json.loads(Dom((tmp_path / "page.html").read_text()).text["script"][0])
    table = store.features().set_index("feature")
    first = data["features"][0]
    assert first["i"] == 5 and first["label"] == "</script> a labelU+202E"  # labelled ones come first
    assert first["count"] == table.loc[5, "count"] and data["tokens"] == store.info.tokens
    assert first["max"] == pytest.approx(table.loc[5, "max"], rel=1e-3)
    top = store.examples(5, "top")[0]
    assert first["examples"][0]["v"] == pytest.approx(top.value, rel=1e-3)
    shown = first["examples"][0]
    values = dict(zip(shown["a"][::2], shown["a"][1::2], strict=True))
    assert values[top.peak] == 1000 and len(shown["t"]) == len(top.tokens)
    effects = store.logits(5)["effect"]
    assert [effect for _, effect in first["up"]] == pytest.approx(list(effects[:10]), rel=1e-3)
    assert [effect for _, effect in first["down"]] == pytest.approx(list(effects[:9:-1]), rel=1e-3)
    rows = gzip.decompress((tmp_path / "np" / "zoo-gla" / "2-res-gla" / "features" / "batch-0.jsonl.gz").read_bytes())
    features = [json.loads(line) for line in rows.decode().splitlines()]
    assert [row["index"] for row in features] == [str(number) for number in range(24)]
    assert features[5]["vector"] == pytest.approx(store.sae.W_dec[5].tolist(), abs=1e-4)
    assert found["neuronpedia"]["explanations"] == 1
    few = run("sae", "export", store.folder, "--html", tmp_path / "few.html", "--feature", 3, "--feature", 5)
    assert "2 features" in few.stdout and "22 left out" in few.stdout


def test_what_cannot_be_exported_ends_with_one_sentence(refused, store, tmp_path):
    assert "--html FILE.html, --neuronpedia DIR" in refused("sae", "export", store.folder)
    page = ["--html", tmp_path / "page.html"]
    assert "no feature 24" in refused("sae", "export", store.folder, *page, "--feature", 24)
    assert "do not fit into" in refused("sae", "export", store.folder, *page, "--budget", 0.001)
    assert "store" in refused("sae", "export", tmp_path, *page)
    assert "does not exist" in refused("sae", "export", store.folder, "--html", tmp_path / "no" / "page.html")
    assert "release is 'a b'" in refused("sae", "export", store.folder, "--neuronpedia", tmp_path, "--release", "a b")
    assert not (tmp_path / "page.html").exists()
