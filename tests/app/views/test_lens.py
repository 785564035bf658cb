"""The numbers of the Lens page are those of the public API, and its code makes them again."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.app.serving import Workspace
from workbench.app.views.lens import (
    TOP,
    cell_code,
    curves_code,
    depth_names,
    described,
    grid_code,
    read_cell,
    read_grid,
)
from workbench.app.views.lens_figures import depth_curve
from workbench.app.views.tuned import LENGTH, lens_folder, saved_lens, texts_of, train_lens, training_code
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.lenses import LogitLens, load_tuned_lens

SOURCE = "zoo:gla"
PROMPT = "The state of the <b>Union</b> is strong. The state of the"


@lru_cache(maxsize=1)
def model() -> HookedModel:
    return wb.load(SOURCE)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """With a tuned lens of two steps."""
    found = Workspace(tmp_path_factory.mktemp("workspace"))
    sentence = "The people of the United States have the right to know the state of the Union. "
    (found.root / "speech.txt").write_text(sentence * 200)
    train_lens(model(), SOURCE, found.root / "speech.txt", "speech.txt", 2, lens_folder(found, SOURCE))
    return found


def run(code: str) -> dict[str, Any]:
    there: dict[str, Any] = {}
    exec(code, there)
    return there


def test_the_code_under_a_grid_makes_its_values_and_words() -> None:
    grid = read_grid(LogitLens(model()), PROMPT, 2, 6)
    for measure in ("probability", "loss"):
        made = run(grid_code(SOURCE, PROMPT, None, 2, 6, measure))
        np.testing.assert_array_equal(made["values"], grid.values(measure))
    assert made["shown"].words == grid.shown.words and grid.depths == 5 and grid.values("kl").shape == (5, 6)


def test_a_window_that_reaches_beyond_the_text_is_cut_and_one_behind_it_refused() -> None:
    grid = read_grid(LogitLens(model()), PROMPT, 3, 500)
    assert len(grid.shown.tokens) == grid.total - 3 == model().to_tokens(PROMPT).shape[1] - 3
    with pytest.raises(InputError, match=f"has {grid.total} tokens, numbered from 0; there is no position 999"):
        read_grid(LogitLens(model()), PROMPT, 999, 5)


def test_a_cell_is_what_the_model_says_where_it_stops() -> None:
    """The last depth against the model's own logits, computed without any lens."""
    tokens = model().to_tokens(PROMPT)
    with torch.no_grad():
        own = model()(tokens)[0].softmax(-1)
    cell = read_cell(LogitLens(model()), PROMPT, 4, 5)
    best = own[5].topk(TOP)
    assert list(cell.ids) == best.indices.tolist() and cell.kl == pytest.approx(0, abs=1e-5)
    assert cell.probabilities == pytest.approx(best.values.tolist(), rel=1e-4) and cell.final == cell.probabilities
    following = int(tokens[0, 6])
    assert cell.chance == pytest.approx(float(own[5, following]), rel=1e-4)
    assert cell.rank == 1 + own[5].argsort(descending=True).tolist().index(following)
    assert f"rank {cell.rank:,}" in described(cell)


def test_the_code_under_a_cell_makes_its_predictions() -> None:
    cell = read_cell(LogitLens(model()), PROMPT, 2, 5)
    made = run(cell_code(SOURCE, PROMPT, None, 2, 5))
    assert made["best"].indices.tolist() == list(cell.ids) and float(made["kl"]) == pytest.approx(cell.kl, rel=1e-5)
    assert cell.kl > 0.1  # an earlier depth is not the model


def test_the_last_token_has_no_next_one() -> None:
    last = model().to_tokens(PROMPT).shape[1] - 1
    cell = read_cell(LogitLens(model()), PROMPT, 1, last)
    assert cell.following is cell.rank is cell.chance is None and "The text ends here" in described(cell)


def test_the_curves_are_means_over_the_positions_shown(workspace: Workspace) -> None:
    folder = str(lens_folder(workspace, SOURCE))
    grids = [read_grid(LogitLens(model()), PROMPT, 1, 30), read_grid(load_tuned_lens(folder, model()), PROMPT, 1, 30)]
    count = len(grids[0].shown.tokens)
    made = run(curves_code(SOURCE, PROMPT, {"by_logit": None, "by_tuned": folder}, 1, count))
    for measure in ("entropy", "loss"):
        figure = depth_curve(grids, measure, 4)
        for name, line in zip(("by_logit", "by_tuned"), (figure.data[0], figure.data[2]), strict=True):
            np.testing.assert_allclose(line.y, getattr(made[name], measure).nanmean(1), rtol=1e-5)
        np.testing.assert_allclose(figure.data[1].y, grids[0].values(measure)[:, 3])
    assert figure.data[0].y[1] != pytest.approx(figure.data[2].y[1])  # two lenses, not one twice


def test_the_last_row_is_named_as_the_model() -> None:
    labels, names = depth_names(3)
    assert labels == ("0", "1", "2 final")
    assert names == ("depth 0 (the embedding)", "depth 1 (after 1 block)", "depth 2 (the model's own prediction)")


def test_a_trained_lens_is_found_again_and_its_code_trains_the_same(workspace: Workspace, tmp_path: Path) -> None:
    known = saved_lens(workspace, SOURCE)
    assert known is not None and known.steps == 2 and len(known.tuned) == 5 and "speech.txt, 2 steps" in str(known)
    assert known.tuned[0] < known.logit[0] and known.tuned[-1] == pytest.approx(0, abs=1e-5)
    assert saved_lens(workspace, "zoo:mamba") is None
    folder = lens_folder(workspace, SOURCE)
    assert folder.is_relative_to(workspace.root) and not list(folder.glob("training*"))
    run(training_code(SOURCE, workspace.root / "speech.txt", 2, tmp_path / "again"))
    for key, tensor in load_tuned_lens(tmp_path / "again", model()).state_dict().items():
        torch.testing.assert_close(tensor, load_tuned_lens(folder, model()).state_dict()[key])


def test_what_was_cancelled_is_no_lens_and_goes_on(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.app.views import tuned
    from workbench.progress import heard_by

    monkeypatch.setattr(tuned, "EVERY", 1)
    said: list[tuple[str, int, int | None]] = []

    def stop(what: str, done: int, total: int | None) -> None:
        said.append((what, done, total))
        if done == 2:
            raise KeyboardInterrupt

    text, fresh = workspace.root / "speech.txt", Workspace(tmp_path)
    folder = lens_folder(fresh, SOURCE)
    with pytest.raises(KeyboardInterrupt), heard_by(stop):
        train_lens(model(), SOURCE, text, "speech.txt", 3, folder)
    assert said == [("tuning the lens", done, 3) for done in range(3)] and list(folder.glob("training-*.pt"))
    assert saved_lens(fresh, SOURCE) is None
    said.clear()
    with heard_by(lambda *heard: said.append(heard)):
        train_lens(model(), SOURCE, text, "speech.txt", 3, folder)
    assert said[1] == ("tuning the lens", 3, 3) and saved_lens(fresh, SOURCE) is not None


def test_texts_of_the_workspace_alone_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.app.views import tuned

    monkeypatch.setattr(tuned, "SHIPPED", tmp_path / "nothing")
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    root = tmp_path / "workspace"
    (root / "texts").mkdir(parents=True)
    (root / ".hidden").mkdir()
    for name in ("a.txt", "texts/b.txt", ".hidden/c.txt"):
        (root / name).write_text("text")
    (root / "link.txt").symlink_to(outside)
    assert list(texts_of(Workspace(root))) == ["a.txt", "texts/b.txt"]


def test_a_damaged_note_is_told_and_a_short_text_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    folder = lens_folder(workspace, SOURCE)
    folder.mkdir(parents=True)
    (folder / "about.json").write_text(json.dumps({"model": SOURCE}))
    with pytest.raises(InputError, match="is damaged"):
        saved_lens(workspace, SOURCE)
    (tmp_path / "short.txt").write_text("Four words are few.")
    with pytest.raises(InputError, match=f"holds 0 rows of {LENGTH} tokens"):
        train_lens(model(), SOURCE, tmp_path / "short.txt", "short.txt", 2, folder)


def test_models_with_like_names_have_folders_of_their_own(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    sources = ["a/b", "a-b", "../../etc/passwd", "zoo:mamba"]
    folders = [lens_folder(workspace, source) for source in sources]
    assert len(set(folders)) == 4 and all(folder.parent == tmp_path / ".workbench/lenses" for folder in folders)
