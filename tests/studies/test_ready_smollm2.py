"""What the headers of the ready studies say of SmolLM2, with few prompts and few edits.

The studies of gates and of decays do not apply to a transformer, and the one of features needs an autoencoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from tests.studies.test_ready import FOLDER, of
from workbench.model import HookedModel
from workbench.studies.coordinator.at_hand import run_with_model
from workbench.studies.report import effects_table
from workbench.studies.schema.reading import read_study
from workbench.studies.store import read_results

NAMED = "[L17H3, L17H4, L17H5, L18H6, L18H7, L20H6, L23H2, L23H7, L23H8, L24H4]"
"""The ten that the finder of induction heads ranks highest."""


def effects(name: str, model: HookedModel, folder: Path, overrides: Sequence[str]) -> pd.DataFrame:
    """The effects table of a ready study on the model at hand, with two prompts unless something is changed."""
    settings = {"models": "{id: SmolLM2, name: smollm2}", "inputs.count": "2", "statistics.resamples": "100"}
    settings |= dict(override.split("=", 1) for override in overrides)
    study = read_study(FOLDER / f"{name}.yaml", [f"{key}={value}" for key, value in settings.items()])
    assert run_with_model(study, model, folder, base=FOLDER).complete
    return effects_table(read_results(folder))


@pytest.mark.filterwarnings("ignore")
class TestAnswers:
    def test_the_heads_that_the_finder_names_matter_together(self, smollm2: HookedModel, tmp_path: Path) -> None:
        edits = f"edits=[{{name: best, sites: {NAMED}, method: mean, search: {{kind: top, k: 10}}}}]"
        table = effects("induction-heads", smollm2, tmp_path, [edits])
        loss = table[table["metric"] == "loss"].set_index("size")["effect"]
        assert len(loss[1]) == 10 and loss[10] > 3 and loss[10] > 2 * loss[1].max()

    def test_the_needle_is_looked_at_in_two_layers(self, smollm2: HookedModel, tmp_path: Path) -> None:
        sites = "{kind: edges, destinations: scored, sources: sources, each: layer, layers: [6, 14, 18, 23]}"
        table = effects("retrieval-heads", smollm2, tmp_path, [f"edits=[{{name: views, sites: {sites}, method: cut}}]"])
        views = table[table["metric"] == "loss"].set_index("layer")["effect"]
        assert min(views[18], views[23]) > 0.1 > 5 * views[[6, 14]].abs().max()

    def test_mixers_that_interact_are_steps_in_a_row(self, smollm2: HookedModel, tmp_path: Path) -> None:
        edits = "edits=[{name: row, sites: [L16.mixer, L18.mixer], method: resample, search: pairs}]"
        table = effects("self-repair", smollm2, tmp_path, [edits, "inputs.count=6"])
        alone = [of(table, "smollm2", label, "logit_difference") for label in ("L16.mixer", "L18.mixer")]
        assert max(alone) < -0.3
        assert sum(alone) + 0.3 < of(table, "smollm2", "L16.mixer + L18.mixer", "logit_difference") < min(alone) + 1

    def test_an_answer_is_fetched_in_several_late_layers(self, smollm2: HookedModel, tmp_path: Path) -> None:
        layers = ["edits.0.sites={kind: mixers, layers: [16]}", "edits.1.sites={kind: mlps, layers: [0]}"]
        table = effects("three-mixers", smollm2, tmp_path, [*layers, "edits.2.sites.layers=[6, 14, 18, 23]"])
        edges = table[(table["family"] == "edges") & (table["metric"] == "loss")].set_index("layer")["effect"]
        assert min(edges[18], edges[23]) > 0.3 and min(edges[18], edges[23]) > 5 * edges[[6, 14]].abs().max()
        assert of(table, "smollm2", "L0.mlp") > 3
