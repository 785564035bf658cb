"""A training step of a sparse autoencoder against SAELens' own trainer, activations given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.race import Contestant, Race
from benchmarks.records import Target

OURS, DENSE, SPARSE = "workbench", "SAELens", "SAELens, sparse"
# So small that no weight moves: a step does all its work, and the next one does the same.
RATE = 1e-60
FIRST = 3


def races() -> tuple[Race, ...]:
    """TopK and BatchTopK at a small transformer's width."""
    return tuple(race(kind) for kind in ("topk", "batchtopk"))


def race(kind: str, width: int = 768, features: int = 16384, k: int = 32, batch: int = 4096) -> Race:
    """One step of the optimiser on a batch of vectors.

    Args:
        kind: ``"topk"`` or ``"batchtopk"``.
    """
    sizes = (width, features, k, batch)
    sides = [
        Contestant(
            OURS,
            "`SaeTraining(options, width).advance(batch)`: checks, SAELens' trainer, gradients of the kept features",
            partial(_ours, kind, *sizes),
            _reconstruction,
        ),
        Contestant(
            DENSE,
            "sae-lens' `SAETrainer.step(batch)`",
            partial(_theirs, kind, *sizes, {}),
            _reconstruction,
        ),
    ]
    if kind == "topk":
        # With its default, features in units of the decoder's norm, torch has no such gradient on CPUs.
        more = {"use_sparse_activations": True, "rescale_acts_by_decoder_norm": False}
        sides.append(
            Contestant(
                SPARSE,
                "the same with `use_sparse_activations=True` and `rescale_acts_by_decoder_norm=False`, without which "
                "it fails on CPUs",
                partial(_theirs, kind, *sizes, more),
                _reconstruction,
            )
        )
    return Race(
        name=f"sae-{kind}-step",
        title=f"Training a sparse autoencoder: one step, {kind}",
        shapes=f"width {width}, {features:,} features, k = {k}, batch {batch:,}",
        contestants=tuple(sides),
        budget=90.0,
        least=3,
        warm_up=1,
        targets=(Target(side=DENSE, quantity="ratio", at_least=1),),
        oracle=partial(_oracle, kind, *sizes),
        error_against="the reconstruction in float64, dense",
        notes="Vectors in memory, random; Adam, clipping, schedules and the counts of dead features included, no "
        f"feature dead; the learning rate is {RATE:g}, so that every step is the same. Tokens a second are the batch "
        "over the time.",
        memory=True,
    )


def vectors(width: int, batch: int) -> Any:
    """What is trained on."""
    import torch

    return torch.randn(batch, width, generator=torch.Generator().manual_seed(FIRST))


def _ours(kind: str, width: int, features: int, k: int, batch: int) -> Callable[[], Any]:
    from workbench.saes.training import SaeTraining, SaeTrainingOptions

    options = SaeTrainingOptions(
        kind,
        d_sae=features,
        k=k,
        tokens=1_000_000 * batch,
        batch=batch,
        learning_rate=RATE,
        warm_up=0.0,
        decay=0.0,
        normalise=False,
        centre=False,
        dead_window=1_000_000,
    )
    training = SaeTraining(options, width, progress=False)
    kept = _keeping(training.trainer)
    given = vectors(width, batch)

    def call() -> Any:
        training.advance(given)
        return kept[0]

    return call


def _theirs(kind: str, width: int, features: int, k: int, batch: int, more: dict[str, Any]) -> Callable[[], Any]:
    import torch
    from sae_lens.config import SAETrainerConfig
    from sae_lens.registry import get_sae_training_class
    from sae_lens.training.sae_trainer import SAETrainer

    made, config = get_sae_training_class(kind)
    torch.manual_seed(0)
    settings: Any = {"d_in": width, "d_sae": features, "k": k, **more}
    trainer: Any = SAETrainer(
        SAETrainerConfig(
            total_training_samples=1_000_000 * batch,
            train_batch_size_samples=batch,
            lr=RATE,
            lr_end=RATE,
            dead_feature_window=1_000_000,
        ),
        made(config(**settings)),
        data_provider=iter(()),
    )
    given = vectors(width, batch)

    def call() -> Any:
        with torch.enable_grad():
            return trainer.step(given)

    return call


def _keeping(trainer: Any) -> list[Any]:
    """The last step's output, in a list: `SaeTraining` hands out measures only."""
    kept: list[Any] = [None]
    step = trainer.step

    def keeping(batch: Any) -> Any:
        kept[0] = step(batch)
        return kept[0]

    trainer.step = keeping
    return kept


def _reconstruction(output: Any) -> Any:
    return output.sae_out.detach()


def _oracle(kind: str, width: int, features: int, k: int, batch: int) -> Any:
    """The first weights' reconstruction, feature by feature, in float64."""
    import torch
    from sae_lens.registry import get_sae_training_class

    made, config = get_sae_training_class(kind)
    torch.manual_seed(0)
    settings: Any = {"d_in": width, "d_sae": features, "k": k}
    sae = made(config(**settings))
    weights = {name: tensor.detach().double() for name, tensor in sae.named_parameters()}
    pre = vectors(width, batch).double() @ weights["W_enc"]  # the biases are 0, and all norms alike
    if kind == "topk":
        top = pre.topk(k, dim=-1)
        kept = torch.zeros_like(pre).scatter(-1, top.indices, top.values.relu())
    else:
        flat = pre.relu().flatten()
        top = flat.topk(k * batch)
        kept = torch.zeros_like(flat).scatter(0, top.indices, top.values).view_as(pre)
    return kept @ weights["W_dec"]
