"""One pass over a text: everything that a feature browser shows, into a folder; killed and called again, it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.features.correlations import NeuronSums
from workbench.saes.features.ledger import FORMAT, Ledger, locked
from workbench.saes.features.options import FeatureOptions, check_same, sae_fingerprint
from workbench.saes.features.pieces import Pieces
from workbench.saes.features.room import Room
from workbench.saes.features.shards import Draft, Pass, codes_file, drafts, read_pass, rows_file
from workbench.saes.features.store import FeatureStore
from workbench.saes.features.tables import write_tables
from workbench.saes.site import VectorSite
from workbench.saes.streams import Reading, SourceLike, as_source, weights_fingerprint


@checked_call
def collect_features(
    model: HookedModel,
    sae: SparseAutoencoder,
    source: SourceLike,
    folder: Path | str,
    *,
    length: int | None = None,
    tokens: int | None = None,
    shard_tokens: int = 65536,
    windows: int = 16,
    first: int = 0,
    context: tuple[int, int] = (20, 10),
    top: int = 20,
    bands: int = 4,
    per_band: int = 5,
    random: int = 10,
    silent: int = 20,
    bins: int = 40,
    top_tokens: int = 10,
    logits: int = 10,
    neighbours: int = 10,
    neurons: str | None = None,
    seed: int = 0,
    disk_budget: int | None = None,
    site: VectorSite | None = None,
    progress: bool = False,
) -> FeatureStore:
    """Run a text through a model and an autoencoder once, and keep what there is to know of every feature.

    The model and the encoder see every token once; what fires goes to disk, a shard at a time, sorted by feature. All
    tables are then made from these files, some features at a time: counts, quantiles and rankings are of all tokens,
    and only the examples below the top are a sample. Memory holds one shard's activations, or four million of them.
    A killed process loses the shard (or table part) that it was at; the same call goes on and ends with equal numbers.

    An *example* of a feature is a row (a window of the text) in which it fires, shown around the token where it is
    highest. ``top``: the rows with the highest maxima. Bands (``75-100%``, ...): of the rows in which it fires, ranked
    by maximum, each equal part, `per_band` of them drawn at random. ``random``: drawn from all rows in which it fires.
    ``silent``: drawn from the rows in which it does not fire. Draws depend on `seed`, feature and row alone.

    Args:
        source: a `TextSource` or its content: a path, texts in a list, a dataset, token ids ``[rows, time]``.
        folder: of the store; one that a run was killed in is gone on with.
        length: tokens a row.
        tokens: read so many, rounded up to a forward pass; None for all.
        shard_tokens: tokens that are committed at once.
        windows: rows a forward pass.
        first: tokens at the start of every row that are not counted.
        context: tokens shown before and after an example's highest.
        bins: of the histogram of activations, from 0 to the largest.
        logits: tokens that the feature raises most, and as many that it lowers most.
        neighbours: partners by firing together and by direction, and neurons.
        neurons: a hook of neurons or channels that is read in the same pass and correlated with the features, such as
            ``"blocks.2.mlp.hook_post"``.
        disk_budget: bytes that the folder may take; None for as many as the disk has. A pass that is clearly too large
            ends after its first shard, and says how many tokens would do.
        site: where the vectors are, when the autoencoder's file does not say.
        progress: show a progress bar.

    Raises:
        InputError: the folder holds another pass (of other weights, text or options), or another process writes there;
            the disk is full, or the budget used up; a source without tokens; see `SparseAutoencoder.site` and
            `TextSource` for the rest.
        NotFiniteError: a vector holds NaN or an infinity.
    """
    options = FeatureOptions(
        tokens, shard_tokens, windows, first, *context, top, bands, per_band, random, silent, bins, top_tokens,
        logits, neighbours, neurons, seed,
    )  # fmt: skip
    where = sae.site(model) if site is None else site
    sites = [where] if neurons is None else [where, VectorSite.of(model, neurons, every=where.every)]
    reading = Reading(model, as_source(source, length, None), sites, windows=windows, drop_first=first)
    if reading.widths[0] != sae.cfg.d_in:
        raise InputError(f"{where} has {reading.widths[0]} numbers; this autoencoder takes {sae.cfg.d_in}.")
    place = Path(folder)
    room = Room(place, disk_budget)
    with locked(place):
        ledger = Ledger(place, write=True)
        try:
            _begin(ledger, reading, sae, options, room)
            work = _read(ledger, reading, sae, options, room)
            for _ in tracked(work, progress, "reading features", _passes(reading, options)):
                pass
            write_tables(ledger, model, sae, options, room, progress)
        finally:
            ledger.close()
    return FeatureStore(place)


def _begin(ledger: Ledger, reading: Reading, sae: SparseAutoencoder, options: FeatureOptions, room: Room) -> None:
    """Note what the pass is of, or see that it is still the same."""
    from workbench.saes.files import save_sae

    asked = {
        "weights of the model": weights_fingerprint(reading.model),
        "weights of the autoencoder": sae_fingerprint(sae),
        "site": str(reading.sites[0]),
        "length": reading.source.length,
        **asdict(options),
    }
    noted = ledger.info("fingerprint")
    if noted is not None:
        check_same(noted, asked, ledger.folder)
        return
    if ledger.folder.joinpath("rows").exists():
        raise InputError(f"{ledger.folder} holds files of another kind; take another folder.")
    room.check(sum(weight.nbytes for weight in sae.state_dict().values()), "the autoencoder")
    save_sae(sae, ledger.folder / "sae")
    ledger.note(
        format=FORMAT,
        fingerprint=asked,
        model=reading.model.cfg.model_name,
        hook=reading.sites[0].hook,
        site=str(reading.sites[0]),
        length=reading.source.length,
        d_sae=sae.cfg.d_sae,
        source=reading.source.about(),
        options=asdict(options),
        finished=False,
    )


def _read(
    ledger: Ledger, reading: Reading, sae: SparseAutoencoder, options: FeatureOptions, room: Room
) -> Iterator[None]:
    """Bring every shard onto the disk; yields once a pass."""
    done = ledger.shards()
    pieces = Pieces(reading.model)
    sums = None
    if options.neurons and not ledger.info("finished"):
        sums = (
            NeuronSums.of(ledger.folder, len(done) - 1)
            if done
            else NeuronSums(ledger.folder, sae.cfg.d_sae, reading.widths[1])
        )
    batches = reading.source.batches(reading.model, options.windows)
    number = 0
    for draft, passes in drafts(reading, options.shard_tokens, options.tokens, batches):
        number += 1
        if draft.number < len(done):
            if draft.sha256 != done[draft.number].sha256:
                raise InputError(
                    f"The text is another than the one {ledger.folder} was begun with: shard {draft.number} differs. "
                    "Take another folder, or delete this one."
                )
            yield from (None for _ in passes)
            continue
        yield from _shard(draft, passes, reading, sae, sums)
        draft.write(ledger.folder, pieces, room)
        if sums is not None:
            room.check(sums.nbytes, "what correlations are made of")
            sums.save(draft.number)
        ledger.add(draft.shard())
        whole = _passes(reading, options)
        if draft.number == len(done) and whole is not None:
            taken = sum(file(ledger.folder, draft.number).stat().st_size for file in (rows_file, codes_file))
            room.foresee(taken, min(1.0, len(passes) / whole), draft.tokens)
    if number < len(done):
        raise InputError(
            f"The text is another than the one {ledger.folder} was begun with: it ends after {number} of "
            f"{len(done)} shards. Take another folder, or delete this one."
        )
    if not any(shard.tokens for shard in ledger.shards()):
        raise InputError(
            "No token of the text is read: its rows end before the first token that counts "
            f"(first={options.first}, {reading.sites[0]})."
        )


def _shard(
    draft: Draft, passes: list[Pass], reading: Reading, sae: SparseAutoencoder, sums: NeuronSums | None
) -> Iterator[None]:
    row = draft.first_row
    for one in passes:
        part, vector, values = read_pass(reading, sae, one, row)
        draft.parts.append(part)
        if sums is not None:
            sums.add(part[2], vector, part[3], values[1])
        row += len(one.batch.lengths)
        yield


def _passes(reading: Reading, options: FeatureOptions) -> int | None:
    """About how many forward passes there will be; None where nobody knows."""
    estimate: Any = reading.source.estimate_tokens(reading.model)
    if options.tokens is not None:
        estimate = options.tokens if estimate is None else min(estimate, options.tokens)
    return None if estimate is None else max(1, round(estimate / (options.windows * reading.source.length)))
