"""``workbench sae``: sparse autoencoders, from training to the features people use; one file a command."""

from __future__ import annotations

from workbench.cli.commands import Commands
from workbench.cli.sae import codebook, compare, evaluate, export, features, steer, training

sae = Commands(help="Train, judge, read, use and compare sparse autoencoders.", no_args_is_help=True)

sae.command("train")(training.train)
sae.command("codebook")(codebook.codebook)
sae.command("eval")(evaluate.evaluate)
sae.command("compare")(compare.compare)
sae.command("steer")(steer.steer)
sae.command("export")(export.export)
sae.add_typer(features.features, name="features")
