"""Making a store: which autoencoders there are for a model, what text is read, how long it will take."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch

from workbench.app.serving import Workspace
from workbench.app.serving.workspace import OWN
from workbench.app.views.features.stores import folders
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.saes import SparseAutoencoder, load_sae
from workbench.saes.features import FeatureStore, collect_features
from workbench.saes.features.ledger import FILE as STORE
from workbench.saes.files import saelens, sparsify
from workbench.saes.shipped import MEMBERS
from workbench.saes.streams import TextSource
from workbench.zoo.recipe import corpus

TOKENS, LENGTH, WINDOWS = 100_000, 256, 16
"""Tokens that a store is made of, tokens a row of them, rows a forward pass."""

SHARD = 16_384
"""Tokens that are committed at once: what a cancelled pass loses at most."""

WEIGHTS = (saelens.WEIGHTS, sparsify.WEIGHTS)
"""Files, one of which lies beside ``cfg.json`` in a folder that holds an autoencoder."""

Text = Literal["speeches", "workspace"]


@dataclass(frozen=True)
class Plan:
    """A store to be made.

    Attributes:
        model: its source.
        sae: source of the autoencoder, as `load_sae` takes it.
        text: ``"speeches"``, or what stands for a file or folder of the workspace in `place`.
        tokens: how many to read; an autoencoder that reads one token in eight sees an eighth of them.
        written: what `written` says of the autoencoder; another one in the same folder makes another store.
    """

    model: str
    sae: str
    text: Text = "speeches"
    place: str = ""
    tokens: int = TOKENS
    written: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Where the store goes, within the workspace: the same plan always to the same folder, so that it goes on.

        Words alone tell the plans apart whose autoencoder and text come with the workbench; others have a hash, too.
        """
        parts = [self.sae.removeprefix("zoo:").replace("/", "-")]
        if self.text == "workspace":
            parts.append(Path(self.place.strip()).stem)
        if self.tokens != TOKENS:
            parts.append(f"{self.tokens}-tokens")
        if self.text == "workspace" or self.sae not in MEMBERS:
            place = PurePosixPath(self.place.strip()).as_posix()
            asked = json.dumps([self.model, self.sae, self.text, place, self.written]).encode()
            parts.append(hashlib.sha256(asked).hexdigest()[:8])
        return "features/" + re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(parts)).strip(".-")


class Builds:
    """How often each store was asked for, so that a pass that was done once can be asked for again."""

    def __init__(self) -> None:
        self._turns: Counter[Plan] = Counter()

    def key(self, plan: Plan) -> tuple[Hashable, ...]:
        """The key of the computation that is asked for now."""
        return ("features", "build", plan, self._turns[plan])

    def done(self, plan: Plan) -> None:
        """Let the next one be another."""
        self._turns[plan] += 1


def bundled(model: str) -> list[str]:
    """Names of the autoencoders that come with the workbench for a model."""
    return [name for name, member in MEMBERS.items() if f"zoo:{member.model}" == model]


def seconds_for(model: HookedModel, sae: SparseAutoencoder, tokens: int) -> float:
    """About how long a store takes: two passes of random tokens, the second one timed.

    Raises:
        InputError: the autoencoder does not fit the model.
    """
    from workbench.saes.using import read_features

    generator = torch.Generator().manual_seed(0)
    some = torch.randint(0, model.cfg.d_vocab, (WINDOWS, LENGTH), generator=generator)
    began = 0.0
    for _ in range(2):
        began = time.monotonic()
        read_features(model, sae, some)
    # What is read is then sorted, counted and written, which takes about a third as long.
    return 1.3 * (time.monotonic() - began) * tokens / some.numel() + 2


def texts_of(plan: Plan, workspace: Workspace) -> list[Any]:
    """The texts that a plan reads, or the path of the file or folder that holds them.

    Raises:
        InputError: there are none, they lie outside the workspace, or they cannot be fetched.
    """
    if plan.text == "workspace":
        if not plan.place.strip():
            raise InputError("Name a text file of the workspace, or a folder of *.txt files.")
        place = workspace.inside(plan.place.strip())
        if not place.exists():
            raise InputError(f"There is no {plan.place.strip()} in the workspace {workspace.root}.")
        return [place]
    otherwise = "Put a text file into the workspace and choose it as the text instead."
    return list(corpus.held_out_speeches(speeches(workspace.root), otherwise))


def fitted_sae(plan: Plan, model: HookedModel, workspace: Workspace) -> SparseAutoencoder:
    """The autoencoder of a plan, refused where it does not fit the model. Raises InputError and LoadError."""
    if plan.sae not in MEMBERS:
        workspace.inside(plan.sae)
    sae = load_sae(sae_of(plan, workspace.root))
    if sae.cfg.hook is None:
        raise InputError(
            f"{plan.sae}/cfg.json does not say which hook the autoencoder reads; write it there, as in "
            '"metadata": {"hook_name": "blocks.1.hook_resid_post"}.'
        )
    sae.site(model)
    if sae.cfg.transcodes and sae.cfg.hook_out is not None:
        sae.site_out(model)
    return sae


def trained_for_another(model: HookedModel, sae: SparseAutoencoder) -> str | None:
    """A sentence where an autoencoder's file names another model than this one; one model may have several names."""
    said, here = (str(name or "").rsplit("/", 1)[-1].lower() for name in (sae.cfg.model_name, model.cfg.model_name))
    if not said or not here or said == here:
        return None
    return f"Its file says that it was trained on {sae.cfg.model_name}; on another model its features mean nothing."


def sae_of(plan: Plan, workspace: Path) -> str:
    """The autoencoder of a plan, as `load_sae` takes it."""
    return plan.sae if plan.sae in MEMBERS else str(workspace / plan.sae)


def written(plan: Plan, workspace: Workspace) -> tuple[int, ...]:
    """When the files of an autoencoder of the workspace were written; another one in the same folder is another."""
    files = [workspace.root / plan.sae / name for name in ("cfg.json", *WEIGHTS)]
    return () if plan.sae in MEMBERS else tuple(one.stat().st_mtime_ns if one.is_file() else 0 for one in files)


def speeches(workspace: Path) -> Path:
    """Where the speeches are kept once they were fetched."""
    return workspace / OWN / "speeches"


@dataclass(frozen=True)
class PassOptions:
    """What depends on the autoencoder: vectors to read, tokens left out at the start, neurons read along."""

    tokens: int
    first: int
    neurons: str | None


def options_for(plan: Plan, model: HookedModel, sae: SparseAutoencoder) -> PassOptions:
    """The options of a pass; neurons of the autoencoder's own layer are read along, where it has any."""
    return PassOptions(
        max(1, plan.tokens // sae.site(model).every), int(sae.cfg.details.get("first", 0)), neurons_beside(model, sae)
    )


def build(plan: Plan, model: HookedModel, texts: list[Any], workspace: Workspace) -> FeatureStore:
    """Make the store, or go on with one that was cancelled or killed.

    Raises:
        InputError: as `collect_features`.
    """
    sae = fitted_sae(plan, model, workspace)
    options = options_for(plan, model, sae)
    source = texts[0] if isinstance(texts[0], Path) else texts
    return collect_features(
        model,
        sae.to(model.cfg.device),
        TextSource(source, LENGTH),
        workspace.inside(plan.name),
        tokens=options.tokens,
        windows=WINDOWS,
        shard_tokens=SHARD,
        first=options.first,
        neurons=options.neurons,
    )


def neurons_beside(model: HookedModel, sae: SparseAutoencoder) -> str | None:
    """The hook of the MLP's neurons in the layer that an autoencoder reads; None where there is none."""
    layer = re.match(r"blocks\.(\d+)\.", sae.cfg.hook or "")
    name = f"blocks.{layer[1]}.mlp.hook_post" if layer else ""
    return name if name in model.points and sae.cfg.head is None else None


def trained_in(workspace: Workspace) -> list[str]:
    """Autoencoders of the workspace, by their paths within it; stores' own copies are left out."""
    found = []
    for folder in folders(workspace.root):
        if (folder / "cfg.json").is_file() and any((folder / weights).is_file() for weights in WEIGHTS):
            name = folder.relative_to(workspace.root)
            if not (folder.parent / STORE).is_file() and "weights" not in name.parts:
                found.append(name.as_posix())
    return found
