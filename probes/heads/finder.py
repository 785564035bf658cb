"""`find_heads`: score every head of a model for one kind, with intervals and a null distribution."""

from __future__ import annotations

from typing import Any

import pandas as pd

from workbench.arguments import checked_call
from workbench.model import HookedModel
from workbench.probes.heads.kinds import check_options, get_kind


@checked_call
def find_heads(model: HookedModel, kind: str, **options: Any) -> pd.DataFrame:
    """Score every head, or every channel of a Mamba-1 layer, for one kind of head.

    Most kinds are defined by where a head reads. For those the model reads random tokens, repeated (a random Markov
    chain for n-gram heads). The score of a head is the average, over the destinations, of the share of the
    destination's row that the defining sources have (see `Shares`). On a softmax head that is the mean attention
    probability on them; TransformerLens' head detector returns the same number times the fraction of rows that have
    such a source. Only entries at listed places are computed, never a ``[time, time]`` matrix; a row's energy comes
    from a scan. The kinds that are defined by what a head does, ``"copying"``, ``"copying_circuit"``, ``"retrieval"``
    and ``"successor"``, are described by `copying_heads`, `copying_circuits`, `retrieval_heads` and `successor_heads`,
    which also list the options that only they take.

    The default scope is the whole mixer, because that is where tokens are. Mamba convolves its values before the
    recurrence: position `s` of the core carries the tokens ``s - 3 .. s``, so a channel that copies the right token may
    read it up to three positions late in core scope, and a channel that reads the previous token through the
    convolution alone looks like one that reads the current token. Without a convolution and a skip the scopes agree.

    Args:
        model: a hooked model.
        kind: one of `kinds()`, or ``"n-gram"`` for any number n from 2 on, such as ``"5-gram"``.

    Keyword Args:
        seeds: one batch of sequences for each; intervals are over all of them. A number is one seed.
        batch: sequences a seed.
        block: random tokens, all different, before they repeat; texts that do not repeat are twice as long.
        bos: token to put in front of every sequence: an id, True for the model's own, None for none.
        normalise: ``"mass"`` or ``"energy"``; None means mass for softmax and energy for recurrent mixers.
        scope: ``"mixer"`` or ``"core"``.
        layers: layers to look at, all by default.
        mixer: which of a layer's mixers to look at, where it has several (Falcon-H1's attention beside its Mamba-2 is
            1); all of them by default.
        group: neighbouring heads pooled into one row of the table, for Mamba-1 channels: 64 makes 24 rows of 1536.
        null_draws: rivals a head is compared with (see `workbench.probes.heads.null`). With 20 of them a head is above
            its null at level 0.95 when it beats them all; with more, a few may be higher, and a memory that merely
            fades passes for a previous-token head because only the current token is above it.
        null_level: quantile of the rivals' scores that column ``null`` holds.
        level: coverage of the intervals.
        progress: show a progress bar.

    Returns:
        One row a head, best first: ``layer``, ``mixer`` (0 for the layer's first), ``head`` (first of its group),
        ``site`` (as in `Ablate`), ``score`` with its bootstrap interval over seeds and sequences ``low`` and ``high``,
        ``null``, ``excess`` (score minus null), ``p`` (rank among the rivals), and ``kind``, ``normalise``, ``scope``,
        ``family``.

    Raises:
        InputError: an unknown kind or option, a layer or mixer out of range, a group that does not divide the heads.
    """
    definition = get_kind(kind)
    check_options(definition.find, options, f"The finder of {kind} heads")
    return definition.find(model, **options)
