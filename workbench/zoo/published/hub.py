"""Fetching a published checkpoint from the Hugging Face hub, or from its cache."""

from __future__ import annotations

import json
from pathlib import Path

from workbench.zoo.published.registry import model_types

FILES = ("*.json", "*.safetensors", "*.model", "*.txt")  # no pickles, no code


def download(name: str, revision: str) -> Path | None:
    """The directory of a hub model whose config.json names a family with a key map; None for every other id."""
    from huggingface_hub import hf_hub_download, snapshot_download

    try:
        values = json.loads(Path(hf_hub_download(name, "config.json", revision=revision)).read_text("utf-8"))
    except Exception:  # an id that cannot be had: whoever loads it next says why, in one sentence
        return None
    if not isinstance(values, dict) or values.get("model_type") not in model_types():
        return None
    return Path(snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
