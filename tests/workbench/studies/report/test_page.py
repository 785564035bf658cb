"""The page of a study: what it says is what the tables hold, and a hostile word stays a word."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.workbench.studies.report.examples import everything, nothing
from tests.workbench.studies.statistics.made_up import MadeUp, a_study, an_edit, noise, together
from tests.workbench.test_report import HOSTILE, Dom
from workbench.errors import InputError
from workbench.report import render_page
from workbench.studies.report import effects_table, write_report
from workbench.studies.report.page import study_page


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    results = everything()
    effects = effects_table(results)
    folder = tmp_path_factory.mktemp("report")
    files = write_report(
        results, folder / "report.html", facts={"Command": "workbench study report X"}, effects=effects
    )
    return results, effects, files, Dom(files[0].read_text("utf-8"))


def words(dom: Dom) -> str:
    tags = ("h1", "h2", "h3", "p", "td", "th", "figcaption", "dd", "dt", "code")
    return " ".join(text for tag in tags for text in dom.text.get(tag, []))


def figures(dom: Dom) -> list[dict]:
    data = next(text for text in dom.text["script"] if text.startswith('{"figures"'))
    return list(json.loads(data)["figures"].values())


def test_the_page_begins_with_the_question_and_what_was_found(written):
    _, effects, _, dom = written
    lead = dom.text["p"][0]
    assert lead.startswith("Which heads matter?")
    mine = effects[(effects["model"] == "attention") & (effects["family"] == "heads") & (effects["metric"] == "loss")]
    mine = mine[mine["control_of"].isna()]
    assert f"{int(mine['significant'].sum())} of {len(mine)} edits of heads change loss" in lead
    assert "Exploratory: 16 prompt groups." in lead


def test_axes_and_captions_say_units_and_which_way_is_worse(written):
    *_, dom = written
    drawn = json.dumps(figures(dom))
    assert "effect on loss (nats)" in drawn and '"effect on loss"' not in drawn
    assert "above 0 is worse" in words(dom)


def test_numbers_on_the_page_are_those_of_the_table(written):
    _, effects, _, dom = written
    row = effects[
        (effects["model"] == "attention")
        & (effects["family"] == "heads")
        & (effects["metric"] == "loss")
        & (effects["label"] == "L0H1")
        & effects["control_of"].isna()
    ].iloc[0]
    cells = dom.text["td"]
    place = cells.index("L0H1\u00a0*")
    assert cells[place + 1] == f"{row['effect']:+.2f}"
    assert cells[place + 2] == f"{row['low']:.2f} to {row['high']:.2f}"
    assert cells[place + 4] == "16"
    assert cells[place + 5] == f"{row['p_controls']:.3f} of 3"
    gap = cells.index("L0H2")
    assert cells[gap + 4] == "15†"


def test_maps_hold_every_effect_and_cross_out_what_has_none(written):
    _, effects, _, dom = written
    heat = next(figure for figure in figures(dom) if figure["data"][0]["type"] == "heatmap")
    texts = np.array(heat["data"][0]["text"])
    assert texts.shape == (2, 4)
    assert texts[0, 1].startswith("L0H1: +")
    assert texts[1, 3] == "no value"
    crosses, dots = heat["data"][1], heat["data"][2]
    assert (list(_numbers(crosses["x"])), list(_numbers(crosses["y"]))) == ([3], [1])
    assert crosses["marker"]["symbol"] == "x-thin"
    mine = effects[(effects["model"] == "attention") & (effects["family"] == "heads") & (effects["metric"] == "loss")]
    assert len(_numbers(dots["x"])) == mine.loc[~mine["label"].str.contains(" "), "significant"].sum()


def test_every_part_of_the_study_is_on_the_page(written):
    *_, dom = written
    text = words(dom)
    for part in (
        "Models side by side",
        "by dose",
        "pairs interact on loss",
        "Effect on loss by layer",
        "random controls",
        "10 units failed: no memory was left",
        "490 of 500 units",
        "16 groups: exploratory",
        "1 measurements of loss in attention (heads) were not a finite number",
        "The numbers come from 2 devices (cpu and cuda:0)",
        "2 measurements made again plainly, one prompt at a time: they differ by 0.500 at most.",
        "workbench study run everything.yaml",
        "workbench study report X",
        "torch 2.9",
        "attention ab12",
        "Negative log-probability of the answers, in nats.",
        "name: everything",
    ):
        assert part in text, part
    kinds = [figure["data"][0]["type"] for figure in figures(dom)]
    assert kinds.count("heatmap") == 5  # two models by two metrics, and the pairs


def test_the_data_lie_beside_the_page(written):
    results, effects, files, _ = written
    assert [file.name for file in files] == [
        "report.html",
        "report.effects.csv",
        "report.effects.parquet",
        "report.units.csv",
        "report.units.parquet",
    ]
    stored = pd.read_parquet(files[2])
    empty = ["control_of", "positions"]  # a missing text is None in one and NaN in the other
    pd.testing.assert_frame_equal(stored.drop(columns=empty), effects.drop(columns=empty), check_dtype=False)
    assert list(stored["control_of"].dropna()) == list(effects["control_of"].dropna())
    assert len(pd.read_csv(files[3])) == len(results.frame)
    csv = pd.read_csv(files[1])
    assert csv["effect"].to_numpy() == pytest.approx(effects["effect"].to_numpy())


def test_a_page_of_nothing_says_so():
    results = nothing()
    dom = Dom(render_page(study_page(results, effects_table(results), [], {})))
    assert dom.text["p"][0] == "Which heads matter? Nothing has been measured yet."
    assert "0 of 500 units" in words(dom)
    assert "500 have not been run" in words(dom)


def test_hostile_words_add_no_element():
    def page(texts: list[str]) -> Dom:
        nasty = " ".join(texts)
        effects = [noise(6, seed, 1.0) for seed in range(len(texts))]
        edits = [an_edit(f"L0.{text}", effect, groups=[text] * 6) for text, effect in zip(texts, effects, strict=True)]
        pair = an_edit(f"L0.{texts[0]} + L0.{texts[1]}", noise(6, 50))
        dose = [an_edit(f"L1.{nasty}", noise(6, 60), dose=dose, family="doses") for dose in (1.0, 2.0)]
        control = an_edit(f"L0.{texts[2]}", noise(6, 70), control_of=f"L0.{texts[0]}")
        entries = [{"name": name, "sites": "heads", "method": "zero"} for name in ("heads", "doses")]
        results = MadeUp(
            together(*edits, pair, *dose, control),
            a_study(question=nasty, edits=entries),
            plan={"warnings": texts, "models": [{"model": nasty, "layers": 2, "digest": nasty}]},
            attempts=pd.DataFrame({"command": texts, "host": texts, "versions": [json.dumps({t: t}) for t in texts]}),
            coverage={"planned": 9, "done": 1, "failed": 8, "not_finite": {}, "reasons": {nasty: 8}},
        )
        return Dom(render_page(study_page(results, effects_table(results), [], {nasty: nasty})))

    words = [word for word in HOSTILE if word.isprintable() or "\u2028" in word]  # half a character is no column's text
    hostile, tame = page(words), page([f"t{number}" for number in range(len(words))])
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in tame.elements]
    attributes = [[set(names) for _, names in dom.elements] for dom in (hostile, tame)]
    assert attributes[0] == attributes[1]
    assert not hostile.open
    labels = json.dumps(figures(hostile))
    kinds = [figure["data"][0]["type"] for figure in figures(hostile)]
    assert {"heatmap", "scatter"} == set(kinds)  # every kind of figure had a chance
    assert "<script" not in labels
    assert "&lt;script&gt;" in labels


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    broken = replace(everything(), frame=pd.DataFrame())  # any statistics of it would raise
    with pytest.raises(InputError, match="does not exist"):
        write_report(broken, tmp_path / "missing" / "report.html")
    (tmp_path / "report.units.csv").mkdir()
    with pytest.raises(InputError, match="is a directory"):
        write_report(broken, tmp_path / "report.html")
    assert [file.name for file in tmp_path.iterdir()] == ["report.units.csv"]


def _numbers(values):
    """Plotly writes arrays of numbers as base64."""
    if isinstance(values, dict):
        import base64

        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
    return values
