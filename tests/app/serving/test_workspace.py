"""Nothing outside the workspace is named, opened or written, and only sources by the rule are opened."""

import os
from pathlib import Path

import pytest

from workbench.app.serving.sources import Sources
from workbench.app.serving.workspace import LONGEST_PROMPT, Workspace
from workbench.errors import InputError


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with a model in it, beside a folder with a secret, which is the current one."""
    (tmp_path / "outside" / "secret").mkdir(parents=True)
    (tmp_path / "outside" / "model.gguf").write_text("secret")
    (tmp_path / "inside" / "models" / "mine").mkdir(parents=True)
    (tmp_path / "inside" / "models" / "mine" / "config.json").write_text("{}")
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "inside" / "loop").symlink_to(tmp_path / "inside" / "loop")
    monkeypatch.chdir(tmp_path / "outside")
    return Workspace(tmp_path / "inside")


OUTSIDE = ["..", "../outside", "/etc/passwd", "models/../../outside", "link", "link/model.gguf", "a\0b", "x" * 5000]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_outside_is_refused(workspace: Workspace, path: str) -> None:
    with pytest.raises(InputError):
        workspace.inside(path)


def test_a_path_inside_is_resolved(workspace: Workspace) -> None:
    assert workspace.inside("models/../models/mine") == workspace.root / "models" / "mine"


def test_a_prompt_comes_back_by_its_id_in_another_process(workspace: Workspace) -> None:
    text = 'a\r\n<script>alert("1")</script>\u202e\u200b \U0001f600\n'
    prompt_id = workspace.keep_prompt(text)
    assert workspace.keep_prompt(text) == prompt_id
    assert Workspace(workspace.root).prompt(prompt_id) == text
    assert workspace.prompt("0" * 12) is None


@pytest.mark.parametrize("prompt_id", ["", "../../secret", "..", "0" * 11 + "/", "0" * 13, "é" * 12, "A" * 12])
def test_what_is_no_id_names_no_file(workspace: Workspace, prompt_id: str) -> None:
    assert workspace.prompt(prompt_id) is None


def test_a_prompt_has_a_length_it_may_have(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="200,001 characters; at most 200,000"):
        workspace.keep_prompt("a" * (LONGEST_PROMPT + 1))


@pytest.mark.skipif(os.geteuid() == 0, reason="The superuser may write everywhere.")
def test_a_workspace_that_cannot_be_written_to_is_said(workspace: Workspace) -> None:
    workspace.root.chmod(0o500)
    try:
        with pytest.raises(InputError, match="--workspace"):
            workspace.keep_prompt("a")
    finally:
        workspace.root.chmod(0o700)


@pytest.mark.parametrize("source", ["zoo:mamba", "gpt2", "HuggingFaceTB/SmolLM2-135M-Instruct", " zoo:attention "])
def test_members_of_the_zoo_and_hub_ids_are_opened(workspace: Workspace, source: str) -> None:
    assert Sources(workspace).checked(source) == source.strip()


def test_a_directory_of_the_workspace_is_opened_by_its_whole_path(workspace: Workspace) -> None:
    whole = str(workspace.root / "models" / "mine")
    assert Sources(workspace).checked("models/mine") == whole
    assert Sources(workspace).checked(whole) == whole


@pytest.mark.parametrize(
    "source", [*OUTSIDE, "", "model.gguf", "secret", "~/model", "C:\\model", "loop", "a b", "a/b/c"]
)
def test_no_other_file_is_opened(workspace: Workspace, source: str) -> None:
    with pytest.raises(InputError):
        Sources(workspace).checked(source)


def test_a_directory_with_a_link_out_of_the_workspace_is_refused(workspace: Workspace) -> None:
    folder = workspace.root / "models" / "mine"
    (folder / "model.safetensors").symlink_to(Path("model.gguf").resolve())
    with pytest.raises(InputError, match=r"holds a link out of the workspace, model\.safetensors"):
        Sources(workspace).checked("models/mine")


def test_what_the_app_was_started_with_is_opened_wherever_it_lies(workspace: Workspace) -> None:
    named = str(Path("model.gguf").resolve())
    sources = Sources(workspace, [named])
    assert sources.checked(named) == named
    assert sources.offered()[0] == named and "zoo:mamba" in sources.offered()


def test_a_member_that_the_zoo_lacks_is_answered_with_the_nearest(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"nearest: .*zoo:mamba"):
        Sources(workspace).checked("zoo:mambo")
