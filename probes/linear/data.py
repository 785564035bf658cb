"""What a probe is asked: places in token sequences, a label for each, and the groups that are held out whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.tasks import Task


@dataclass(frozen=True, eq=False)
class ProbeData:
    """Labelled places in token sequences; `labelled_texts`, `labelled_tokens` and `labelled_states` make one.

    Attributes:
        sequences: token ids, one tensor a sequence, without padding.
        sequence: which sequence each row lies in.
        position: where in it, from 0.
        labels: numbers for ridge regression (several a row for several outputs), classes for logistic regression.
        groups: rows of one group are held out together; by default a group is a sequence and its exact repetitions.
        types: what a control task gives random labels to (Hewitt and Liang 2019): by default the token at the place.
    """

    sequences: tuple[Int[Tensor, " _"], ...]
    sequence: Int[np.ndarray, " rows"]
    position: Int[np.ndarray, " rows"]
    labels: Shaped[np.ndarray, rows * outputs]
    groups: Shaped[np.ndarray, " rows"]
    types: Shaped[np.ndarray, " rows"]

    def __len__(self) -> int:
        return len(self.sequence)

    def __repr__(self) -> str:
        groups = len(np.unique(self.groups))
        return f"ProbeData({len(self)} places in {len(self.sequences)} sequences, {groups} groups)"

    def with_labels(self, labels: Any) -> ProbeData:
        """The same places with other labels, one a row. Raises InputError for another number of them."""
        found = label_array(labels)
        if len(found) != len(self):
            raise InputError(f"There are {len(found)} labels for {len(self)} places; one label a place is needed.")
        return replace(self, labels=found)

    def sample(self, rows: int, seed: int = 0) -> ProbeData:
        """At most that many rows, drawn without replacement; all of them where there are no more."""
        if rows < 1:
            raise InputError(f"{rows} rows are none; at least 1 is needed.")
        if rows >= len(self):
            return self
        kept = np.sort(np.random.default_rng(seed).choice(len(self), rows, replace=False))
        parts = {name: getattr(self, name)[kept] for name in ("sequence", "position", "labels", "groups", "types")}
        return replace(self, **parts)


@checked_call
def labelled_texts(
    model: HookedModel,
    texts: Sequence[str] | Iterable[Int[Tensor, " _"]],
    labels: Any,
    *,
    position: int | Sequence[int] = -1,
    groups: Sequence[Any] | None = None,
    types: Sequence[Any] | None = None,
) -> ProbeData:
    """One label a text, read at one of its tokens.

    Args:
        texts: texts, or rows of token ids.
        labels: one a text; a row of numbers each for several outputs.
        position: where the activation is read, as an index into the text's tokens: one for all (the last), or one a
            text.
        groups: one a text; texts of one group are never on both sides of a hold-out.
        types: one a text, for control tasks; the token at the place by default.

    Raises:
        InputError: another number of labels, groups, types or positions than of texts; a position outside its text;
            the same text in two groups.
    """
    sequences = _token_rows(model, texts)
    found = label_array(labels)
    places = [position] * len(sequences) if isinstance(position, int) else list(position)
    for what, given in (("labels", found), ("positions", places), ("groups", groups), ("types", types)):
        if given is not None and len(given) != len(sequences):
            raise InputError(f"There are {len(given)} {what} for {len(sequences)} texts; one a text is needed.")
    pairs = zip(sequences, places, strict=True)
    columns = np.array([_column(row, place, number) for number, (row, place) in enumerate(pairs)])
    numbers = np.arange(len(sequences))
    return _data(sequences, numbers, columns, found, groups, types)


@checked_call
def labelled_tokens(
    model: HookedModel,
    texts: Sequence[str] | Iterable[Int[Tensor, " _"]],
    labels: Iterable[Sequence[Any]],
    *,
    groups: Sequence[Any] | None = None,
    types: Iterable[Sequence[Any]] | None = None,
) -> ProbeData:
    """A label a token; None leaves a token out.

    Args:
        texts: texts (tokenised without special tokens), or rows of token ids.
        labels: for each text one label a token, as `workbench.probes.neurons.token_labels` makes them.
        groups: one a text; each text is a group of its own by default.
        types: for each text one a token, for control tasks; the token itself by default.

    Raises:
        InputError: another number of labels than of tokens; no label at all; the same text in two groups.
    """
    sequences = _token_rows(model, texts, special=False)
    listed = [list(row) for row in labels]
    kinds = None if types is None else [list(row) for row in types]
    for what, rows in (("labels", listed), ("types", kinds)):
        if rows is None:
            continue
        if len(rows) != len(sequences):
            raise InputError(f"There are {what} for {len(rows)} texts, and {len(sequences)} texts.")
        for number, (row, tokens) in enumerate(zip(rows, sequences, strict=True)):
            if len(row) != len(tokens):
                raise InputError(
                    f"Text {number} has {len(tokens)} tokens and {len(row)} {what}; one a token is needed (None leaves "
                    "a token out)."
                )
    if groups is not None and len(groups) != len(sequences):
        raise InputError(f"There are {len(groups)} groups for {len(sequences)} texts; one a text is needed.")
    places = [(n, t) for n, row in enumerate(listed) for t, label in enumerate(row) if label is not None]
    if not places:
        raise InputError("No token has a label.")
    numbers, columns = np.array(places).T
    found = label_array([listed[n][t] for n, t in places])
    of_rows = None if groups is None else [groups[n] for n in numbers]
    types_of_rows = None if kinds is None else [kinds[n][t] for n, t in places]
    return _data(sequences, numbers, columns, found, of_rows, types_of_rows)


@checked_call
def labelled_states(task: Task) -> ProbeData:
    """The hidden states of the process that made a task's text, as classes to be read after each token.

    Tokens without a state (-1), such as padding and what comes before the process starts, are no places. Each sequence
    is held out whole, with its exact repetitions; control labels go by token::

        task = wb.tasks.flip_flop(model, batch=64)
        sweep = probe_sweep(model, labelled_states(task), "resid_post")

    Raises:
        InputError: the task's generator keeps no states, or none at any token.
    """
    if task.states is None:
        raise InputError(f"Task {task.name!r} keeps no hidden states; label its tokens with labelled_tokens instead.")
    states = task.states.cpu()
    there = torch.ones_like(states, dtype=torch.bool) if task.mask is None else task.mask.cpu().bool()
    # Padding is on the left, and a probe's sequences have none: what is left keeps its order.
    rows = [(row[kept], named[kept]) for row, named, kept in zip(task.tokens.cpu(), states, there, strict=True)]
    at = [(n, t) for n, (_, named) in enumerate(rows) for t in (named >= 0).nonzero().flatten().tolist()]
    if not at:
        raise InputError(f"Task {task.name!r} has no hidden state at any token.")
    numbers, columns = np.array(at).T
    labels = np.array([int(rows[n][1][t]) for n, t in at])
    return _data(tuple(row for row, _ in rows), numbers, columns, labels, None, None)


def label_array(labels: Any) -> Shaped[np.ndarray, rows * outputs]:
    """Labels as an array. Raises InputError where they are ragged or missing."""
    try:
        found = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    except ValueError as error:
        raise InputError("Labels must have as many numbers in each row.") from error
    if found.ndim not in (1, 2) or found.dtype == object:
        raise InputError(
            f"Labels must be a list of classes or numbers of one kind, or rows of numbers; these are {found.dtype} of "
            f"shape {[*found.shape]}."
        )
    return found


def _data(
    sequences: tuple[Tensor, ...],
    numbers: Int[np.ndarray, " rows"],
    columns: Int[np.ndarray, " rows"],
    labels: Shaped[np.ndarray, rows * outputs],
    groups: Sequence[Any] | None,
    types: Sequence[Any] | None,
) -> ProbeData:
    first: dict[tuple[int, ...], int] = {}
    same = [first.setdefault(tuple(row.tolist()), number) for number, row in enumerate(sequences)]
    if groups is None:
        of_rows = np.array(same)[numbers]
    else:
        of_rows = np.asarray(list(groups))
        by_text: dict[int, Any] = {}
        for number, group in zip(numbers, of_rows, strict=True):
            taken = by_text.setdefault(same[number], group)
            if taken != group:
                raise InputError(
                    f"Text {number} is the same as text {same[number]}, and they are in groups {group} and {taken}; "
                    "one would be held out while the other is trained on."
                )
    if types is None:
        of_places = np.array([int(sequences[n][t]) for n, t in zip(numbers, columns, strict=True)])
    else:
        of_places = np.asarray(list(types))
    return ProbeData(sequences, numbers, columns, labels, of_rows, of_places)


def _token_rows(model: HookedModel, texts: Any, special: bool = True) -> tuple[Tensor, ...]:
    listed = [texts] if isinstance(texts, str) else list(texts)
    if not listed:
        raise InputError("There is no text to probe: the list is empty.")
    rows: list[Tensor] = []
    for number, text in enumerate(listed):
        if isinstance(text, str):
            if not text:
                raise InputError(f"Text {number} is empty; at least one token is needed.")
            rows.append(model.tokens.encode(text, None if special else False)[0][0])
            continue
        row = torch.as_tensor(text).cpu().long()
        if row.dim() != 1:
            raise InputError(f"Text {number} is no row of token ids: its shape is {[*row.shape]}.")
        model.tokens.checked(row[None], None)
        rows.append(row)
    return tuple(rows)


def _column(row: Tensor, place: int, number: int) -> int:
    if not -len(row) <= place < len(row):
        raise InputError(f"Position {place} is outside text {number}, which has {len(row)} tokens.")
    return place % len(row)
