"""The ready studies read, and in a shrunken form give the answer that `docs/studies.md` gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from tests.packaging.tree import ROOT
from tests.workbench.studies.arithmetic import Inline
from workbench.studies.coordinator import run_study
from workbench.studies.engines.worker import Worker
from workbench.studies.report import effects_table
from workbench.studies.schema.reading import read_study
from workbench.studies.store import read_results

FOLDER = ROOT / "studies"
STUDIES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def effects(name: str, folder: Path, overrides: Sequence[str]) -> pd.DataFrame:
    """The effects table of a ready study with four prompts, and other settings changed."""
    study = read_study(FOLDER / f"{name}.yaml", ["inputs.count=4", "statistics.resamples=100", *overrides])
    summary = run_study(study, folder, base=FOLDER, progress=False, engine=Inline(worker=Worker))
    assert summary.complete
    return effects_table(read_results(folder))


def of(table: pd.DataFrame, model: str, label: str, metric: str = "loss", dose: float | None = None) -> float:
    rows = table[(table["model"] == model) & (table["label"] == label) & (table["metric"] == metric)]
    rows = rows[rows["control_of"].isna()] if dose is None else rows[rows["dose"] == dose]
    return float(rows["effect"].iloc[0])


def test_seven_studies_are_there() -> None:
    assert len(STUDIES) == 7


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_reads_and_says_how_to_run_it(name: str) -> None:
    study = read_study(FOLDER / f"{name}.yaml")
    assert study.name == name
    assert study.question.endswith("?")
    header = (FOLDER / f"{name}.yaml").read_text("utf-8")
    assert f"workbench study run studies/{name}.yaml" in header
    assert f"workbench study report study-runs/{name}" in header
    assert "SmolLM2" in header


@pytest.mark.filterwarnings("ignore")
class TestAnswers:
    def test_heads_that_copy_are_missed_together(self, tmp_path: Path) -> None:
        table = effects("induction-heads", tmp_path, ["edits.2.controls=null", "edits.3.controls=null"])
        assert of(table, "attention", "L1H0 + L1H1 + L1H2 + L1H3") > 5
        assert of(table, "gated_delta", "L1H0 + L1H1") > 5
        alone = table[(table["size"] == 1) & (table["metric"] == "loss")]
        assert alone["effect"].max() < 3

    def test_views_of_the_needle_lie_in_the_second_layer(self, tmp_path: Path) -> None:
        table = effects("retrieval-heads", tmp_path, ["edits.0.search.cumulative=false", "edits.0.controls=null"])
        views = table[(table["family"] == "views") & (table["metric"] == "loss")]
        assert set(views.nlargest(4, "effect")["layer"]) == {1}
        assert views[views["layer"] != 1]["effect"].abs().max() < 0.1

    def test_two_heads_of_a_layer_stand_in_for_each_other(self, tmp_path: Path) -> None:
        sites = ["edits.0.sites=[L1H0, L3.mlp]", "edits.1.sites=[L1.mlp, L3.mlp]", "edits.2.sites=[L1H0, L1H1]"]
        table = effects("self-repair", tmp_path, sites)
        parts = [of(table, "gated_delta", label) for label in ("L1H0", "L1H1", "L1H0 + L1H1")]
        assert parts[2] > parts[0] + parts[1] + 3

    def test_the_first_layer_of_the_lstm_is_what_reacts(self, tmp_path: Path) -> None:
        doses = ["edits.1.method.value=[-1000]", "edits.2.method.value=[0]", "edits.3.method.value=[0.5]"]
        table = effects("lstm-gates", tmp_path, doses)
        losses = table[table["metric"] == "loss"].groupby(["family", "layer"])["effect"].max().unstack("layer")
        assert (losses[0] > 3 * losses[[1, 2, 3]].max(axis=1)).all()
        assert of(table, "lstm", "L0.output", dose=0.5) > of(table, "lstm", "L0.forget", dose=-1000.0)

    def test_one_layer_of_mamba_remembers_and_the_next_forgets(self, tmp_path: Path) -> None:
        table = effects("mamba-decay", tmp_path, ["edits.0.method.value=[0, -3]", "edits.1.method.factor=[2]"])
        assert of(table, "mamba", "L0.forget", dose=-3.0) > 5 > 1 > of(table, "mamba", "L0.forget", dose=0.0)
        assert of(table, "mamba", "L1.forget", dose=0.0) > 5 > 1 > of(table, "mamba", "L1.forget", dose=-3.0)

    def test_features_of_repetition_matter_little_and_have_random_ones_beside_them(self, tmp_path: Path) -> None:
        table = effects("repetition-features", tmp_path, ["edits.0.controls.draws=2"])
        loss = table[table["metric"] == "loss"]
        together = loss[loss["control_of"].isna() & (loss["size"] == 12)]
        assert len(loss[loss["control_of"].notna()]) == 2
        assert 0 < float(together["effect"].iloc[0]) < 0.2

    def test_the_answer_comes_in_one_hop_in_another_layer_of_each_model(self, tmp_path: Path) -> None:
        table = effects("three-mixers", tmp_path, [])
        edges = table[(table["family"] == "edges") & (table["metric"] == "loss")]
        largest = edges.loc[edges.groupby("model")["effect"].idxmax()].set_index("model")["layer"]
        assert largest.to_dict() == {"attention": 1, "mamba": 0, "gated_delta": 1}
