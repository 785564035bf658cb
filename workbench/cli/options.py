"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Scope(StrEnum):
    """How much of a mixer its implicit attention covers."""

    mixer = "mixer"
    core = "core"


class Method(StrEnum):
    """What an ablated site writes instead."""

    mean = "mean"
    zero = "zero"
    resample = "resample"


class Dtype(StrEnum):
    """Number formats a model can be loaded in."""

    float32 = "float32"
    float64 = "float64"
    bfloat16 = "bfloat16"
    float16 = "float16"


ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="zoo:NAME, a local directory, a .gguf file, or a Hugging Face id.", show_default=False
    ),
]
Device = Annotated[
    str | None, typer.Option("--device", help="Where to run: cpu, cuda, cuda:1, mps.", show_default="cpu")
]
DtypeOption = Annotated[
    Dtype | None, typer.Option("--dtype", help="Number format of the weights.", show_default="as stored")
]
Revision = Annotated[
    str | None, typer.Option("--revision", help="Branch, tag or commit of a Hugging Face id.", show_default="main")
]
TrustPickle = Annotated[
    bool,
    typer.Option(
        "--trust-pickle", help="Load pickled weights (.bin, .pt). Pickles run code: only from people you trust."
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="First seed of the random tokens and draws.")]
Kind = Annotated[
    str,
    typer.Option("--kind", help="Kind of head, as in workbench heads; one that is checked on a block that is copied."),
]
ScopeOption = Annotated[
    Scope,
    typer.Option("--scope", help="mixer: from token to output, convolution and gate included; core: the recurrence."),
]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Batches of random tokens the scores are averaged over.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Sequences a batch.")]
BlockLength = Annotated[int, typer.Option("--block", min=2, help="Random tokens before they repeat.")]
Group = Annotated[int, typer.Option("--group", min=1, help="Neighbouring channels that count as one head (Mamba-1).")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON; - is standard output.")
]
HtmlFile = Annotated[
    Path | None, typer.Option("--out", metavar="FILE.html", help="Write a self-contained page with plots.")
]
