"""The command line. Each command is a file; nothing heavy is imported before a command runs."""

from workbench.cli.application import app, main

__all__ = ["app", "main"]
