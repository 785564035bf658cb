"""One vocabulary: a word on the command line means the same in every command, and stands for the same default."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import typer

from workbench.cli import app

# What a command makes goes where --out says: a page, or the folder that the command is about; what can be loaded again
# goes to --save. The help of the others tells their command's own choices apart.
OWN_HELP = {"--out", "--save", "--kind", "--windows", "--batch", "--steps", "--layer", "--head", "--mixer", "--dtype"}
# Words of which each of two commands has its own sense, clear from what the command is about.
OWN_HELP |= {"--tokens", "--every", "--probe", "--feature", "--strength", "--folder", "--learning-rate", "--set", "-k"}
# Autoencoders are trained on, and read, windows of 128, as SAELens' are.
OWN_DEFAULT = OWN_HELP | {"--scope", "--hook", "--token", "--length"}
# A group's first command, which needs not be typed.
UNTYPED = {"sae features collect": "sae features"}
# It opens a window, and has nothing to write.
WITHOUT_JSON = {"app"}


def commands() -> dict[str, Any]:
    """Every command by what a user types."""
    found: dict[str, Any] = {}

    def walk(command: Any, path: str) -> None:
        if not hasattr(command, "commands"):
            found[path] = command
            return
        for name, below in command.commands.items():
            walk(below, f"{path} {name}".strip())

    walk(typer.main.get_command(app), "")
    return found


def test_an_option_means_the_same_in_every_command() -> None:
    helps: defaultdict[str, dict[str, str]] = defaultdict(dict)
    defaults: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for name, command in commands().items():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                helps[parameter.opts[0]][name] = parameter.help
                defaults[parameter.opts[0]][name] = str(parameter.default)
    unlike = {option: by for option, by in helps.items() if len(set(by.values())) > 1 and option not in OWN_HELP}
    assert not unlike
    apart = {option: by for option, by in defaults.items() if len(set(by.values())) > 1 and option not in OWN_DEFAULT}
    assert not apart


def test_the_model_comes_first_and_every_command_has_an_example_and_json() -> None:
    for name, command in commands().items():
        arguments = [p.name for p in command.params if p.param_type_name == "argument"]
        assert "model" not in arguments[1:], name
        assert name in WITHOUT_JSON or any("--json" in parameter.opts for parameter in command.params), name
        assert f"Example: workbench {UNTYPED.get(name, name)}" in command.help, name
