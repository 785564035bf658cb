"""SAELens' training classes as options ask for them, and what they have learnt as an autoencoder of ours."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.saes.autoencoder import SaeConfig, SparseAutoencoder
from workbench.saes.training.keeping_few import KeepsFew
from workbench.saes.training.options import KEEPING_K, TRANSCODING, SaeTrainingOptions
from workbench.saes.training.transcoding import Transcodes


def training_sae(options: SaeTrainingOptions, d_in: int, d_out: int | None = None) -> Any:
    """A training class of SAELens with its first weights.

    Args:
        d_out: width of the vectors to predict, for a transcoder; None for an autoencoder.

    Raises:
        InputError: an option that SAELens' config does not have, or an architecture that no transcoder is trained with.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TransformerLens, to SAELens
        from sae_lens.registry import get_sae_training_class

    base, config = get_sae_training_class(options.architecture)
    if d_out is not None and options.architecture not in TRANSCODING:
        raise InputError(f"No transcoder is trained with {options.architecture!r}; there is {', '.join(TRANSCODING)}.")
    settings = _settings(options, {field.name for field in fields(config)})
    cfg: Any = config(d_in=d_in, d_sae=options.d_sae, dtype=options.dtype, device=options.device, **settings)
    ahead: list[type] = [KeepsFew] if options.sparse and options.architecture in KEEPING_K else []
    if d_out is not None:
        cfg.apply_b_dec_to_input = False
        cfg.d_out, cfg.skip = d_out, options.skip
        ahead.insert(0, Transcodes)
    made = type(f"{base.__name__}Here", (*ahead, base), {}) if ahead else base
    with torch.random.fork_rng(devices=[] if options.device == "cpu" else None):
        torch.manual_seed(options.seed)
        return made(cfg)


def learnt(
    sae: Any, options: SaeTrainingOptions, scales: tuple[float, float], origin: Mapping[str, Any], basis: Tensor | None
) -> SparseAutoencoder:
    """What a training class has learnt so far, with the scale of the vectors put into its weights.

    Args:
        scales: what the vectors read and the vectors written were multiplied by.
        origin: fields of `SaeConfig` that say where the vectors come from.
    """
    cfg = sae.cfg
    weights: dict[str, Any] = {name: tensor.detach().clone() for name, tensor in sae.state_dict().items()}
    into, out = scales
    norms = weights["W_dec"].norm(dim=-1).clamp(min=1e-8)
    weights["W_enc"] *= into
    for name in ("W_dec", "b_dec"):
        weights[name] /= out
    if "W_skip" in weights:
        weights["W_skip"] *= into / out
    if options.architecture in KEEPING_K and cfg.rescale_acts_by_decoder_norm:
        # Features counted in units of their decoder's norm, so they keep what they count where that norm becomes 1.
        weights["W_enc"] *= norms / out
        weights["b_enc"] *= norms / out
        weights["W_dec"] /= (norms / out)[:, None]
        if "topk_threshold" in weights:
            weights["topk_threshold"] /= out
    if "topk_threshold" in weights:
        weights["threshold"] = torch.full_like(weights["b_enc"], float(weights.pop("topk_threshold")))
    if "threshold" in weights:
        weights["threshold"] = weights["threshold"].to(weights["b_enc"].dtype)
    ours = SaeConfig(
        _name(options, transcodes=hasattr(cfg, "d_out")),
        cfg.d_in,
        cfg.d_sae,
        d_out=getattr(cfg, "d_out", None),
        k=int(options.k) if options.architecture == "topk" else None,
        apply_b_dec_to_input=cfg.apply_b_dec_to_input,
        normalize_activations=_kept_normalisation(cfg.normalize_activations),
        **origin,
    )
    return SparseAutoencoder(ours, {name: tensor.cpu() for name, tensor in weights.items()}, basis)


def _name(options: SaeTrainingOptions, transcodes: bool) -> str:
    if not transcodes:
        return "jumprelu" if options.architecture in ("batchtopk", "matryoshka_batchtopk") else options.architecture
    return "_".join(part for part in (TRANSCODING[options.architecture], options.skip * "skip", "transcoder") if part)


def _kept_normalisation(kind: str) -> str:
    return kind if kind in ("layer_norm", "constant_norm_rescale") else "none"


def _settings(options: SaeTrainingOptions, known: set[str]) -> dict[str, Any]:
    """Settings of SAELens' config."""
    unknown = [name for name in options.more if name not in known]
    if unknown:
        raise InputError(f"SAELens' {options.architecture} training has no setting {unknown[0]!r}.")
    found: dict[str, Any] = {}
    if options.architecture in KEEPING_K:
        found["k"] = int(options.k) if options.architecture == "topk" else options.k
    if "matryoshka_widths" in known:
        found["matryoshka_widths"] = options.levels
    for penalty in ("l1", "l0"):
        if f"{penalty}_coefficient" in known:
            found |= {f"{penalty}_coefficient": options.sparsity, f"{penalty}_warm_up_steps": options.warm_up_steps}
    return found | dict(options.more)
