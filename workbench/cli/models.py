"""Loading a model for a command, and saying what it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from workbench.cli.options import AS_STORED, Loading
from workbench.cli.output import Output

if TYPE_CHECKING:
    from workbench.model import HookedModel


def open_model(output: Output, source: str, loading: Loading = AS_STORED) -> HookedModel:
    """`workbench.load` with a sign of life on the terminal. Raises what `workbench.load` raises."""
    with output.errors.status(f"loading {source}"):
        silence_libraries()
        import torch

        import workbench as wb

        dtype = None if loading.dtype is None else getattr(torch, loading.dtype)
        return wb.load(
            source, dtype=dtype, device=loading.device, revision=loading.revision, trust_pickle=loading.trust_pickle
        )


def silence_libraries() -> None:
    """Keep load reports and progress bars of libraries out of what a command prints, in processes it starts, too."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # of .gguf files that are unpacked, which asks nobody else
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def summary(model: HookedModel) -> dict[str, Any]:
    """What there is to say about a model without running it."""
    cfg = model.cfg
    parameters = {id(p): p.numel() for p in model.wrapped.parameters()}
    return {
        "model": cfg.model_name,
        "architecture": cfg.architecture,
        "family": cfg.family,
        "families": cfg.families,
        "layers": cfg.n_layers,
        "d_model": cfg.d_model,
        "heads": cfg.n_heads,
        "d_head": cfg.d_head,
        "vocabulary": cfg.d_vocab,
        "context": cfg.n_ctx,
        "parameters": sum(parameters.values()),
        "dtype": str(cfg.dtype).removeprefix("torch."),
        "device": str(cfg.device),
        "tokenizer": model.tokenizer is not None,
        "hooks": len(model.hook_names),
    }
