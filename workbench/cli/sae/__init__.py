"""``workbench sae``: sparse autoencoders, from training to the features people use; one file a command."""

from __future__ import annotations

import typer

sae = typer.Typer(help="Train, judge, read, use and compare sparse autoencoders.", no_args_is_help=True)
