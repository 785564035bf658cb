import subprocess
import sys

import pytest
import torch

import workbench
from workbench.cli import info
from workbench.cli.application import app
from workbench.errors import LoadError

COMMANDS = ("demo", "info", "heads", "ablate", "attention")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(run, command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: workbench {command} " in result.stdout
    assert "--json" in result.stdout


def test_help_loads_nothing_heavy():
    code = "import sys, workbench.cli; print(*sorted({'torch', 'transformers', 'plotly', 'pandas'} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == ""


def test_the_version_is_the_packages(run):
    result = run("--version")
    assert (result.exit_code, result.stdout.strip()) == (0, f"workbench {workbench.__version__}")


def test_no_command_shows_what_there_is(run):
    result = run()
    for command in COMMANDS:
        assert command in result.output


def test_an_error_of_the_user_is_one_sentence_and_code_2(refused, monkeypatch):
    def fails(*_, **__):
        raise LoadError("There is nothing here.")

    monkeypatch.setattr(info, "open_model", fails)
    assert refused("info", "x") == "There is nothing here."


def test_how_a_model_is_loaded_is_what_was_typed(refused, monkeypatch):
    asked = {}

    def load(source, **how):
        asked.update(how, source=source)
        raise LoadError("That will do.")

    monkeypatch.setattr(workbench, "load", load)
    how = ("--device", "cuda:1", "--dtype", "bfloat16", "--revision", "v2", "--trust-pickle")
    assert refused("info", "x", *how) == "That will do."
    typed = {"device": "cuda:1", "dtype": torch.bfloat16, "revision": "v2", "trust_pickle": True}
    assert asked == {"source": "x", **typed}


def test_an_error_of_ours_keeps_its_traceback(run, monkeypatch):
    def fails(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(info, "open_model", fails)
    result = run("info", "x")
    assert isinstance(result.exception, ZeroDivisionError)
    assert app.pretty_exceptions_enable is False


def test_a_warning_is_a_sentence_without_the_line_it_came_from(run, monkeypatch):
    def warns(*_, **__):
        import warnings

        warnings.warn("Loaded without its tokenizer.", stacklevel=1)
        raise LoadError("And then it stopped.")

    monkeypatch.setattr(info, "open_model", warns)
    assert run("info", "x").stderr == "Note: Loaded without its tokenizer.\nError: And then it stopped.\n"
