"""Train an autoencoder or a transcoder on a hook of any model, in one call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.site import VectorSite
from workbench.saes.training.options import SaeTrainingOptions
from workbench.saes.training.sinks import warn_of_sinks
from workbench.saes.training.subspace import training_subspace
from workbench.saes.training.trainer import SaeTraining

if TYPE_CHECKING:
    from workbench.saes.streams import Subspace, TextSource

BUFFER_BYTES = 2**28
MIXED = 8
"""The buffer that mixes vectors of different texts holds so many batches, or such a part of the training if that is
more: text that is read again and again would otherwise fill it however little is trained on."""


def train_sae(
    model: HookedModel,
    source: Any,
    site: VectorSite | str,
    *,
    target: VectorSite | str | None = None,
    rank: int | None = None,
    first: int = 0,
    folder: Path | str | None = None,
    resume: bool = True,
    length: int | None = None,
    windows: int = 16,
    checkpoint_steps: int | None = None,
    log_steps: int = 10,
    progress: bool = True,
    stream: dict[str, Any] | None = None,
    **settings: Any,
) -> SparseAutoencoder:
    """Train an autoencoder on what passes at a hook while the model reads text.

    Args:
        source: a `TextSource`, or what makes one: paths, texts, a Hugging Face dataset, token ids. What is no
            `TextSource` is read as often as it takes, each time in another order.
        site: the hook, by name, or a `VectorSite`: one head, one token in so many, a subspace.
        target: the hook to predict, which makes it a transcoder.
        rank: read the vectors in the subspace of so many principal components of the text's first vectors: what a
            recurrent state, of `key * value` numbers a head, is learned in. None for whole vectors.
        first: tokens at the start of a window that are not trained on. Of many Transformers the first one is an
            attention sink, whose vectors are so long that all errors are its own; a warning says so.
        folder: where checkpoints, history and the result go; with a cut-off training of the same options in it, that
            is gone on with.
        resume: False to begin anew.
        length: tokens a window of text; None for 128, or what the source says.
        windows: windows a forward pass.
        checkpoint_steps, log_steps, progress: as in `SaeTraining`.
        stream: further arguments of `activation_stream`, such as ``buffer_bytes`` (for what is mixed; at most 2^28).
        settings: of `SaeTrainingOptions`: ``architecture``, ``d_sae`` (16 times the width), ``k``, ``tokens``,
            ``learning_rate``, ``seed``, ....

    Raises:
        InputError, HookNameError: no such hook, setting or source; a `rank` of a transcoder, or for a source that can
            be read once only.
        NotFiniteError, DivergenceError: see `SaeTraining.run`.
    """
    from workbench.saes.streams import activation_stream

    at = VectorSite.of(model, site) if isinstance(site, str) else site
    onto = VectorSite.of(model, target) if isinstance(target, str) else target
    if onto is not None and (onto.every, onto.basis is None) != (at.every, at.basis is None):
        raise InputError(f"A transcoder reads and writes at the same tokens and in whole spaces: {at} and {onto}.")
    if onto is not None and onto.head != at.head:
        raise InputError(f"A transcoder reads and writes the same head, or all of them: {at} and {onto}.")
    unknown = [name for name in settings if name not in SaeTrainingOptions.__dataclass_fields__]
    if unknown:
        known = ", ".join(SaeTrainingOptions.__dataclass_fields__)
        raise InputError(f"A training has no setting {unknown[0]!r}; it has {known}.")
    seed = int(settings.get("seed", SaeTrainingOptions.seed))
    text = training_text(source, length, seed)
    held: Subspace | None = None
    if rank is not None:
        if onto is not None or at.basis is not None:
            raise InputError(
                "A rank is for an autoencoder of whole vectors: a transcoder, or a site with a basis, has none."
            )
        if hasattr(source, "__next__"):
            raise InputError("What can be read once only has nothing left to train on after a basis is fitted to it.")
        kept = None if folder is None else Path(folder)
        held = training_subspace(model, _once(source, text, seed), at, rank, first, kept, resume, seed)
        at = held.site
    if not first and not hasattr(source, "__next__"):
        warn_of_sinks(model, text, at)
    d_in = at.width(model)
    options = SaeTrainingOptions(**{"d_sae": 16 * d_in, **settings})
    training = SaeTraining(
        options,
        d_in,
        d_out=None if onto is None else onto.width(model),
        folder=folder,
        origin=_origin(model, at, onto, text, held, first),
        basis=at.basis,
        checkpoint_steps=checkpoint_steps,
        log_steps=log_steps,
        progress=progress,
    )
    sites: Any = at if onto is None else (at, onto)
    row = 4 * (d_in + (training.d_out or 0))
    least = row * (options.batch + windows * text.length)
    mixed = row * max(MIXED * options.batch, options.tokens // MIXED)
    given = {"buffer_bytes": least + min(BUFFER_BYTES, mixed), "drop_first": first}
    rows: Iterator[Tensor] = activation_stream(
        model, text, sites, batch=options.batch, windows=windows, seed=options.seed, **{**given, **(stream or {})}
    )
    return training.run(rows, resume)


def training_text(source: Any, length: int | None, seed: int) -> TextSource:
    """A source as it is, or one of its content that is read as often as it takes, each time in another order."""
    from workbench.saes.streams import TextSource, as_source

    if isinstance(source, TextSource):
        return as_source(source, length)
    once = hasattr(source, "__next__")  # an iterator
    return TextSource(source, 128 if length is None else length, seed=seed, epochs=1 if once else None)


def _once(source: Any, text: TextSource, seed: int) -> TextSource:
    """The text of a training without its repetitions, unless they are the caller's own."""
    from workbench.saes.streams import TextSource

    return text if isinstance(source, TextSource) else TextSource(source, text.length, seed=seed)


def _origin(
    model: HookedModel, at: VectorSite, onto: VectorSite | None, text: TextSource, held: Subspace | None, first: int
) -> dict[str, Any]:
    details: dict[str, Any] = {"context_size": text.length, "prepend_bos": text.bos, "first": first}
    if held is not None:
        explained = float(held.explained.sum())
        details["subspace"] = {"rank": len(held.explained), "explained": explained, "rows": held.rows}
    if at.hook.startswith("blocks.") and f"{at.hook.rsplit('.hook_', 1)[0]}.hook_state" in model.points:
        details["recurrent"] = True  # no hook of TransformerLens': its name stays ours in the file
    found: dict[str, Any] = {"hook": at.hook, "head": at.head, "every": at.every, "details": details}
    found["model_name"] = model.cfg.model_name
    return found if onto is None else {**found, "hook_out": onto.hook}
