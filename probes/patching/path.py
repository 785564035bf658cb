"""Path patching: one component changes, and only what reaches a receiver without passing another component."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TypeAlias

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint
from workbench.model import HookedModel
from workbench.probes.patching.comparison import Comparison, effect_table
from workbench.probes.patching.edits import Sweep, swept
from workbench.probes.patching.metric import Metric
from workbench.probes.patching.receivers import LOGITS, Receiver, sites_one_by_one, written_by
from workbench.progress import tracked
from workbench.sites import SiteLike
from workbench.tasks import Task
from workbench.wrapping import ModelInput

Hooks: TypeAlias = list[tuple[str, HookFunction]]
Logits: TypeAlias = Float[Tensor, "batch time vocabulary"]


@checked_call
def path_patching(
    model: HookedModel,
    run: Task | ModelInput,
    source: Task | ModelInput,
    metric: Metric | None = None,
    *,
    senders: SiteLike | Sequence[SiteLike],
    receivers: str | Sequence[str] = LOGITS,
    freeze_mlps: bool = True,
    sender_positions: Sweep = "all",
    receiver_positions: Sweep = "all",
    level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """The effect of a sender on a metric through its direct paths to a receiver, all other components held.

    Wang et al. 2022, "Interpretability in the Wild" (arXiv:2211.00593, appendix B); Goldowsky-Dill et al. 2023
    (arXiv:2304.05969). Three passes: (1) both runs are recorded; (2) `run` again, with the sender's output from
    `source` and the output of every other head and MLP as it was in `run`, and what the receiver reads is kept; (3)
    `run` again with nothing changed but what the receiver reads.

    Args:
        run, source, metric: as in `activation_patching`; runs of one length.
        senders: sites that write to the residual stream: heads, mixers, MLPs.
        receivers: ``"logits"``; a head's operand (``"L5H1.q"``, ``".k"``, ``".v"``, in recurrent layers also
            ``".log_decay"``, ``".write"``, ...: any that `workbench.probes.patching.head_operands` lists); a head with
            all its operands (``"L5H1"``); or an MLP (``"L5.mlp"``).
        freeze_mlps: False lets MLPs between sender and receiver answer, as in the first paper.
        sender_positions: where the sender writes what it wrote in `source`: ``"all"`` at once, ``"each"`` in turn, or
            so the listed ones.
        receiver_positions: in the same words, where the receiver reads what comes of it; of the logits, which rows
            count. With ``"each"`` of both the work grows with the square of the length.

    Returns:
        One row a sender, receiver and pair of positions: ``sender``, ``receiver``, ``sender_position`` and
        ``receiver_position`` (-1 for all at once), ``effect``, ``low``, ``high``, and ``share`` of the effect of
        exchanging the runs.

    Raises:
        InputError: a sender, a receiver or a position that the model or the run lacks, or runs of different lengths.
    """
    pair = Comparison.of(model, run, source, metric)
    if pair.source.shape[1] != pair.tokens.shape[1]:
        raise InputError(
            f"The other run has {pair.source.shape[1]} positions and this one {pair.tokens.shape[1]}; "
            "path patching exchanges outputs position by position."
        )
    sending = sites_one_by_one(senders)
    listed = [receivers] if isinstance(receivers, str) else list(receivers)
    receiving = [Receiver.parse(model, spelled) for spelled in listed]
    if not sending or not receiving:
        raise InputError("Path patching needs at least one sender and one receiver.")
    time = pair.tokens.shape[1]
    arriving = swept(receiver_positions, time)
    jobs = list(product(sending, swept(sender_positions, time)))
    held = component_hooks(model, freeze_mlps)
    outputs = list(dict.fromkeys(name for site in sending for name in site.hook_names(model)))
    names = list(dict.fromkeys([*held, *outputs]))
    with torch.no_grad():
        _, mine = model.run_with_cache(pair.tokens, names, pair.mask, return_type=None)
        _, theirs = model.run_with_cache(pair.source, outputs, pair.source_mask, return_type=None)
    plain = pair.logits()
    before = pair.checked(plain)
    labels: list[dict[str, object]] = []
    effects: list[Tensor] = []
    for site, at in tracked(jobs, progress, "patching paths"):
        hooks: Hooks = [(name, _constant(mine[name])) for name in held]
        hooks += [part.exchange(model, theirs[part.name], at) for part in written_by(model, site)]
        kept: dict[str, Tensor] = {}
        read = {name: _keeper(kept) for one in receiving for name in one.names}
        direct = pair.logits([*hooks, *read.items()])
        for receiver, there in product(receiving, arriving):
            if receiver.at_logits:
                after = pair.checked(direct if there is None else _with_row(plain, direct, there))
            else:
                after = pair.value([one.exchange(model, kept[one.name], there) for one in receiver.reads])
            labels.append(
                {
                    "sender": str(site),
                    "receiver": receiver.spelled,
                    "sender_position": -1 if at is None else at,
                    "receiver_position": -1 if there is None else there,
                }
            )
            effects.append(after - before)
    return effect_table(labels, effects, level, pair.source_value() - before)


def component_hooks(model: HookedModel, mlps: bool = True) -> list[str]:
    """The hooks where all heads, and all MLPs if wanted, hand over what they write."""
    names = [model.points[f"blocks.{mixer.layer}.{mixer.part}.hook_head_out"].name for mixer in model.mixers]
    if mlps:
        outs = (f"blocks.{layer}.hook_mlp_out" for layer in range(model.cfg.n_layers))
        names += [name for name in outs if name in model.points]
    return names


def _with_row(logits: Logits, other: Logits, position: int) -> Logits:
    mixed = logits.clone()
    mixed[:, position] = other[:, position]
    return mixed


def _constant(value: Tensor) -> HookFunction:
    return lambda tensor, hook: value.clone()


def _keeper(kept: dict[str, Tensor]) -> HookFunction:
    def keep(tensor: Tensor, hook: HookPoint) -> None:
        kept[hook.name] = tensor.detach().clone()

    return keep
