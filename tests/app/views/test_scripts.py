"""Code that a page offers holds what was asked for, letter by letter, however many quotes it has."""

import ast
from pathlib import Path

import pandas as pd
import pytest

from workbench.app.views import ablate, attention, head_scripts, lens, state, state_edits, studies, tuned
from workbench.app.views.ablation_study import OWN_TEXT, Asking, Measured, draft
from workbench.app.views.attention.layer import layer_code
from workbench.app.views.features import building, scripts
from workbench.app.views.features.steering import Steer
from workbench.app.views.heads import Scores
from workbench.saes.features import FeatureQuery
from workbench.studies import study_text

PROMPT = """it's "one" '''two''' \"\"\"three\"\"\" \\n {four} \\' \\\\\nfive\r\n# six\u2028seven\U0001f600\\"""
SOURCE = """/tmp/it's "mine"/a{0}\\n'''b.gguf"""
FOLDER = Path("/tmp/it's \"his\"/c{1}\\t'''d")

HEAD = attention.HeadChoice(1, 0, 1)
SCORES = Scores(SOURCE, "induction", pd.DataFrame({"site": ["L0H0"]}), "head", 1)
PATCH = state_edits.StateEdit("patch", 1, 0, 3, source="0123456789ab")
ASKING = Asking(SOURCE, ("L1H2", f"{FOLDER}#3"), "zero", OWN_TEXT, PROMPT)
STUDY = draft(ASKING, 4)
PLAN = building.Plan(SOURCE, f"{FOLDER}/sae", "workspace", 'it\'s/"here"')
PASSES = building.PassOptions(1000, 0, None)

CODES: dict[str, tuple[str, tuple[str, ...]]] = {
    "head": (attention.head_code(SOURCE, PROMPT, HEAD), (SOURCE, PROMPT)),
    "path": (attention.path_code(SOURCE, PROMPT, HEAD, 3, 2), (SOURCE, PROMPT)),
    "statistics": (attention.statistics_code(SOURCE, PROMPT, "entropy"), (SOURCE, PROMPT)),
    "layer": (layer_code(SOURCE, PROMPT, HEAD, "written", [0, 1]), (SOURCE, PROMPT)),
    "norms": (state.state_norms_code(SOURCE, PROMPT, 1, 1), (SOURCE, PROMPT)),
    "half-lives": (state.half_lives_code(SOURCE, PROMPT, [0]), (SOURCE, PROMPT)),
    "slice": (state.state_slice_code(SOURCE, PROMPT, 1, 0, 2), (SOURCE, PROMPT)),
    "keeps": (state.keeps_code(SOURCE, PROMPT), (SOURCE, PROMPT)),
    "edits": (
        state_edits.outcome_code(SOURCE, "read", [PATCH], {PATCH.source: PROMPT}, 5),
        (SOURCE, "read", PROMPT),
    ),
    "grid": (lens.grid_code(SOURCE, PROMPT, str(FOLDER), 0, 5, "loss"), (SOURCE, PROMPT, str(FOLDER))),
    "cell": (lens.cell_code(SOURCE, PROMPT, str(FOLDER), 1, 2), (SOURCE, PROMPT, str(FOLDER))),
    "curves": (lens.curves_code(SOURCE, PROMPT, {"a": str(FOLDER)}, 0, 5), (SOURCE, PROMPT, str(FOLDER))),
    "training": (
        tuned.training_code(SOURCE, FOLDER / "a.txt", 5, FOLDER),
        (SOURCE, str(FOLDER / "a.txt"), str(FOLDER)),
    ),
    "scores": (head_scripts.scores_code(SCORES, "score", "segment"), (SOURCE,)),
    "against null": (head_scripts.against_null_code([SCORES], "segment"), (SOURCE,)),
    "check": (head_scripts.check_code(SCORES, 1, "score", "mean", "segment"), (SOURCE,)),
    "losses": (ablate.token_losses_code(ASKING), (SOURCE, PROMPT, str(FOLDER))),
    "effects": (
        ablate.ablation_code(ASKING, Measured(STUDY, pd.DataFrame(), pd.DataFrame(), ())),
        (SOURCE, PROMPT, study_text(STUDY, defaults=False)),
    ),
    "list": (scripts.list_code(FOLDER, FeatureQuery(text=PROMPT)), (str(FOLDER), PROMPT)),
    "pictures": (scripts.pictures_code(FOLDER, 1), (str(FOLDER),)),
    "proposing": (scripts.proposing_code(FOLDER, 1), (str(FOLDER),)),
    "trying": (scripts.trying_code(SOURCE, FOLDER, 1, PROMPT, 9), (SOURCE, str(FOLDER), PROMPT)),
    "steering": (
        scripts.steering_code(SOURCE, FOLDER, 1, 2.5, PROMPT, Steer(), (0.0, 1.0)),
        (SOURCE, str(FOLDER), PROMPT),
    ),
    "building": (
        scripts.building_code(PLAN, PASSES, FOLDER),
        (SOURCE, building.sae_of(PLAN, FOLDER), str(FOLDER / PLAN.place)),
    ),
    "found": (studies.found_code(str(FOLDER)), (str(FOLDER),)),
    "compared": (studies.compared_code(str(FOLDER), SOURCE), (str(FOLDER), SOURCE)),
}


@pytest.mark.parametrize("name", CODES)
def test_quotes_backslashes_and_line_ends_are_as_they_were(name: str) -> None:
    code, asked = CODES[name]
    said = {node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)}
    assert [one for one in asked if one not in said] == []
