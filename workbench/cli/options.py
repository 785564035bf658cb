"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

MOST = 10**15
"""The largest number that is counted to: nobody has as many, and larger floats do not hold every whole number."""


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


def many(text: str | int) -> int:
    """A whole number from 1 up as people write large ones: ``200000``, ``200_000``, ``2e5``.

    Raises:
        typer.BadParameter: it is no such number.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 1 <= number <= MOST or number != int(number):
        raise typer.BadParameter(f"{text!r} is no whole number from 1 up, such as 200000 or 2e5.")
    return int(number)


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


@dataclass(frozen=True)
class Loading:
    """How a command opens a model."""

    device: Device = None
    dtype: DtypeOption = None
    revision: Revision = None
    trust_pickle: TrustPickle = False


AS_STORED = Loading()

Seed = Annotated[int, typer.Option("--seed", min=0, help="First seed of all that is random.")]
_PROMPT = typer.Argument(metavar="PROMPT", help="A text for the model to read.", show_default=False)
PromptArgument = Annotated[str, _PROMPT]
PromptOrFile = Annotated[str | None, _PROMPT]
_TEXT = typer.Option(
    "--text",
    metavar="PATH",
    help="UTF-8 text: a file, or a folder, where every *.txt in it and below is a text.",
    show_default=False,
)
TextFile = Annotated[Path, _TEXT]
TextInsteadOfPrompt = Annotated[Path | None, _TEXT]
Length = Annotated[int, typer.Option("--length", min=2, help="Tokens a window of the text.")]
Windows = Annotated[int, typer.Option("--windows", min=1, help="At most that many windows, evenly spread.")]
Top = Annotated[int, typer.Option("--top", min=1, help="Rows to show.")]
Position = Annotated[int, typer.Option("--position", help="Token, as an index from 0; -1 is the last.")]
Layer = Annotated[int, typer.Option("--layer", help="Layer, from 0; -1 is the last.")]
Mixer = Annotated[
    int, typer.Option("--mixer", min=0, help="Which of a layer's mixers, where it has several (Falcon-H1).")
]
Hook = Annotated[
    str,
    typer.Option("--hook", help="Place in the model: resid_post, mixer.hook_head_out, mlp.hook_post, z, state, ...."),
]

Kind = Annotated[
    str,
    typer.Option("--kind", help="Kind of head, as in workbench heads; one that is checked on a block that is copied."),
]
ScopeOption = Annotated[
    Scope,
    typer.Option("--scope", help="mixer: from token to output, convolution and gate included; core: the recurrence."),
]
Answer = Annotated[
    str | None,
    typer.Option("--answer", help="Token that should come next, with its space.", show_default="the likeliest"),
]
Instead = Annotated[str | None, typer.Option("--instead", help="Token whose logit is taken off.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="An option of the task, as often as needed; @FILE is the text in a file. task show says which there are.",
    ),
]
MethodOption = Annotated[Method, typer.Option("--method", help="What an ablated site writes.")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Batches, each drawn with a seed of its own.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Sequences a batch.")]
BlockLength = Annotated[int, typer.Option("--block", min=2, help="Random tokens before they repeat.")]
Group = Annotated[int, typer.Option("--group", min=1, help="Neighbouring channels that count as one head (Mamba-1).")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON; - is standard output.")
]
HtmlFile = Annotated[
    Path | None, typer.Option("--out", metavar="FILE.html", help="Write a self-contained page with plots.")
]
