"""Judging an autoencoder on text: what it explains, and what the model loses when it is spliced in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.loss import next_token_loss
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.judging.baselines import BASELINES, baseline, constant
from workbench.saes.judging.judgement import Judgement, Measured
from workbench.saes.judging.reading import Source, token_windows
from workbench.saes.judging.reference import Reference, read_reference
from workbench.saes.site import VectorSite, read_vectors
from workbench.saes.splice import Splice

ABLATIONS = ("mean ablation", "zero ablation")


def judge_sae(
    model: HookedModel,
    sae: SparseAutoencoder | Mapping[str, SparseAutoencoder],
    source: Source,
    *,
    baselines: Sequence[str] = BASELINES,
    length: int = 128,
    windows: int | None = None,
    bos: bool = False,
    fit_on: Source | None = None,
    site: VectorSite | None = None,
    first: int | None = None,
    batch: int = 8,
    seed: int = 0,
    progress: bool = False,
) -> Judgement:
    """Judge an autoencoder, or several of one place, on text, beside baselines of the same L0.

    Each autoencoder reads the vectors of the model as it is, and is then spliced into it (`Splice`): the model goes on
    with the reconstruction. Transcoders are judged at what they predict.

    Args:
        sae: one, or several by name, which read one place (and predict one place).
        source: texts, or rows of tokens; see `workbench.saes.judging.token_windows` for this, `length` and `bos`.
        baselines: some of ``pca``, ``random`` and ``neurons``; see `workbench.saes.judging.baseline`. Their `k` is the
            first autoencoder's mean L0.
        windows: rows to read at most, the fitted ones included.
        fit_on: text that the baselines and the mean of mean ablation are fitted on; by default every other row of
            `source`, and the rest is judged on.
        site: where, when the autoencoder's file does not say.
        first: tokens at the start of a row that are neither judged nor rewritten; None for as many as the first
            autoencoder was trained without (`train_sae`), else none.
        seed: of the random dictionary.
        progress: show a progress bar.

    Raises:
        InputError: no autoencoder, autoencoders of different places, another name of a baseline, a single row, and
            whatever `baseline` and `SparseAutoencoder.site` refuse.
    """
    saes = dict(sae) if isinstance(sae, Mapping) else {"sae": sae}
    _check(saes, baselines)
    one_of_them = next(iter(saes.values()))
    at = one_of_them.site(model) if site is None else site
    out = one_of_them.site_out(model) if one_of_them.cfg.transcodes else None
    left = int(one_of_them.cfg.details.get("first", 0)) if first is None else first
    rows = token_windows(model, source, length, windows, bos=bos)
    if fit_on is None:
        if len(rows) < 2:
            raise InputError("A single row of text is judged on and cannot be fitted on as well; give at least two.")
        fitted, judged = rows[1::2], rows[::2]
    else:
        fitted, judged = token_windows(model, fit_on, length, bos=bos), rows
    if not 0 <= left < rows.shape[1] - 1 or not any(position >= left for position in at.positions(rows.shape[1])):
        raise InputError(f"Nothing is judged of rows of {rows.shape[1]} tokens without their first {left}.")
    reference = read_reference(model, fitted, at, out, first=left, batch=batch, progress=progress)
    k = mean_l0(one_of_them, reference)
    every = dict(saes)
    for name in baselines:
        every[name] = baseline(name, reference, one_of_them, k, seed=seed)
    every[ABLATIONS[0]] = constant(one_of_them, reference.mean_out)
    every[ABLATIONS[1]] = constant(one_of_them, torch.zeros_like(reference.mean_out))
    found: dict[str, list[Measured]] = {name: [] for name in every}
    clean: list[Tensor] = []
    parts = list(judged.split(batch))
    for tokens in tracked(parts, progress, "judging"):
        tokens = tokens.to(model.cfg.device)
        sites = [at] if out is None else [at, out]
        vectors, logits = read_vectors(model, tokens, sites, to_the_end=True)
        assert logits is not None
        clean.append(_loss(logits, tokens, left))
        unread = sum(position < left for position in at.positions(tokens.shape[1]))
        x, y = vectors[0][:, unread:], vectors[-1][:, unread:]
        for name, one in every.items():
            spliced = _spliced(model, one, tokens, None if site is None else at, left)
            found[name].append(_measured(one, x, y, tokens, logits, spliced, left))
    measured = {name: Measured.joined(several) for name, several in found.items()}
    return Judgement(str(at if out is None else out), measured, torch.cat(clean), rows.shape[1], k)


def mean_l0(sae: SparseAutoencoder, reference: Reference) -> int:
    """Features an average vector of a reference has, rounded, at least 1."""
    counts = [int((sae.encode(rows.to(sae.dtype)) != 0).sum()) for rows in reference.sample.split(256)]
    return max(1, round(sum(counts) / len(reference.sample)))


def _check(saes: Mapping[str, SparseAutoencoder], baselines: Sequence[str]) -> None:
    if not saes:
        raise InputError("There is no autoencoder to judge.")
    places = {(one.cfg.hook, one.cfg.hook_out, one.cfg.head, one.cfg.every, one.cfg.d_in) for one in saes.values()}
    if len(places) > 1:
        raise InputError("The autoencoders are of different places; judge them one place at a time.")
    unknown = [name for name in baselines if name not in BASELINES]
    if unknown:
        raise InputError(f"No baseline is called {unknown[0]!r}; it is one of {', '.join(BASELINES)}.")
    taken = {*BASELINES, *ABLATIONS, "model"} & saes.keys()
    if taken:
        raise InputError(f"{min(taken)!r} is the name of a baseline; call the autoencoder something else.")


@torch.no_grad()
def _spliced(
    model: HookedModel, sae: SparseAutoencoder, tokens: Int[Tensor, "batch time"], site: VectorSite | None, first: int
) -> Float[Tensor, "batch time vocabulary"]:
    with Splice(sae, site=site, first=first).applied(model, tokens):
        logits: Tensor = model(tokens)
    return logits


def _loss(logits: Float[Tensor, "batch time vocabulary"], tokens: Int[Tensor, "batch time"], first: int) -> Tensor:
    """Mean loss of each row, in nats, of what is predicted from its first token that counts on."""
    return next_token_loss(logits, tokens, per_token=True)[:, first:].mean(1).double().cpu()


@torch.no_grad()
def _measured(
    sae: SparseAutoencoder,
    x: Float[Tensor, "batch positions d_in"],
    y: Float[Tensor, "batch positions d_out"],
    tokens: Int[Tensor, "batch time"],
    clean: Float[Tensor, "batch time vocabulary"],
    spliced: Float[Tensor, "batch time vocabulary"],
    first: int,
) -> Measured:
    """Sums over the tokens of each row. A row at a time, because a vector's features may be many."""
    rows: list[dict[str, Tensor]] = []
    for one, wanted, before, after in zip(x, y, clean, spliced, strict=True):
        features = sae.encode(one)
        made = sae.decode(features, one).double()
        wanted = wanted.double()
        log_p, log_q = (logits[first:].float().log_softmax(-1) for logits in (before, after))
        lengths, lengths_made = wanted.norm(dim=-1), made.norm(dim=-1)
        products = (wanted * made).sum(-1)
        tiny = torch.finfo(torch.float64).tiny
        rows.append(
            {
                "kl": (log_p.exp() * (log_p - log_q)).sum(-1).mean(),
                "l0": (features != 0).sum(-1).double().sum(),
                "cosine": (products / (lengths * lengths_made).clamp(min=tiny)).sum(),
                "norm_ratio": (lengths_made / lengths.clamp(min=tiny)).sum(),
                "error": (wanted - made).square().sum(),
                "energy": wanted.square().sum(),
                "total": wanted.sum(0),
                "energy_made": made.square().sum(),
                "products": products.sum(),
                "fired": (features != 0).any(0),
            }
        )
    stacked = {name: torch.stack([row[name] for row in rows]).cpu() for name in rows[0]}
    sums = {name: value.double() for name, value in stacked.items() if name != "fired"}
    return Measured(_loss(spliced, tokens, first), stacked["fired"], x.shape[1], **sums)
