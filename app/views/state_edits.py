"""Edits of recurrent states: zero, scale, or another text's; and what they do to what comes next."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench import at_steps
from workbench.app.views.scripts import script
from workbench.app.views.state import recurrent_mixers
from workbench.attribution.linear import unembedding
from workbench.errors import InputError
from workbench.families.base import unit_name
from workbench.hooks import HookFunction, HookPoint
from workbench.model import HookedModel
from workbench.restarting import Entered, recording
from workbench.studies.passes.tail import tail_logits

MOST_EDITS = 20

SHOWN = 12
"""Next tokens in the table."""

LOGITS, FEWEST = 2**19, 32
"""Logits of a run that are there at a time, since a long prompt is gone through in blocks of positions; and the fewest
positions of a block, since each reads the whole unembedding."""

_SPELLING = re.compile(
    r"(?P<what>zero|scale=(?P<factor>-?\d+(?:\.\d+)?)|patch=(?P<source>[0-9a-f]{12})\.(?P<at>-?\d+))"
    r":L(?P<layer>\d+)(?:H(?P<head>\d+))?@(?P<position>\d+)"
)

Kind: TypeAlias = Literal["zero", "scale", "patch"]

Hook: TypeAlias = tuple[str, HookFunction]


@dataclass(frozen=True)
class StateEdit:
    """One edit of a state, made right after a token; later states are computed from it.

    Attributes:
        kind: ``zero``, ``scale`` or ``patch``.
        layer: whose state; `head` of it, or all of it where that is None.
        position: of the token.
        factor: of ``scale``.
        source: of ``patch``, id of the other prompt; its state after `source_position` (-1: its last) is put in.
    """

    kind: Kind
    layer: int
    head: int | None
    position: int
    factor: float = 1.0
    source: str = ""
    source_position: int = 0

    def __str__(self) -> str:
        what = {
            "zero": "zero",
            "scale": f"scale={self.factor:.6f}".rstrip("0").rstrip("."),
            "patch": f"patch={self.source}.{self.source_position}",
        }[self.kind]
        head = "" if self.head is None else f"H{self.head}"
        return f"{what}:L{self.layer}{head}@{self.position}"

    @classmethod
    def parse(cls, text: str) -> StateEdit:
        """What ``str`` wrote: ``zero:L1H3@5``, ``scale=0.5:L1@7``, ``patch=<prompt id>.9:L1@7``.

        Raises:
            InputError: it is no edit.
        """
        found = _SPELLING.fullmatch(text)
        if found is None:
            raise InputError(f"{text!r} is no edit of a state; there is zero:L1H3@5, scale=0.5:L1@7, patch=ID.9:L1@7.")
        kind = found["what"].partition("=")[0]
        return cls(
            kind=kind,  # type: ignore[arg-type]
            layer=int(found["layer"]),
            head=None if found["head"] is None else int(found["head"]),
            position=int(found["position"]),
            factor=float(found["factor"] or 1),
            source=found["source"] or "",
            source_position=int(found["at"] or 0),
        )

    def place(self, unit: str = "head") -> str:
        """In words: ``head 3 of layer 1 after token 5``."""
        what = f"layer {self.layer}" if self.head is None else f"{unit} {self.head} of layer {self.layer}"
        return f"{what} after token {self.position}"

    def words(self, unit: str = "head") -> str:
        """What it does, for people, with what a head is called."""
        if self.kind == "zero":
            return f"Zero the state of {self.place(unit)}"
        if self.kind == "scale":
            return f"Scale the state of {self.place(unit)} by {self.factor:g}"
        at = "last token" if self.source_position == -1 else f"token {self.source_position}"
        return f"Give {self.place(unit)} the other prompt's state after its {at}"


def edits_of(text: str) -> tuple[StateEdit, ...]:
    """Edits from a link, by commas. Raises InputError for what is none, and for more than `MOST_EDITS`."""
    found = tuple(StateEdit.parse(one) for one in text.split(",") if one)
    if len(found) > MOST_EDITS:
        raise InputError(f"There are {len(found)} edits; at most {MOST_EDITS} are made at once.")
    return found


def edit_hooks(model: HookedModel, time: int, edits: Sequence[StateEdit], prompts: Mapping[str, str]) -> list[Hook]:
    """Hooks that make the edits, in order, while the model reads a prompt of `time` tokens.

    Args:
        prompts: texts by their ids, for patches.

    Raises:
        InputError: no such layer, head, position or prompt, or a layer without a recurrent state.
    """
    mixers = recurrent_mixers(model)
    hooks: list[Hook] = []
    for edit in edits:
        if edit.layer not in mixers:
            raise InputError(f"Layer {edit.layer} keeps no recurrent state; these layers do: {sorted(mixers)}.")
        mixer = mixers[edit.layer]
        if edit.head is not None and edit.head >= mixer.n_heads:
            unit = unit_name([mixer])
            raise InputError(
                f"{unit.capitalize()} {edit.head} is out of range: {mixer.place} has {unit}s 0 to {mixer.n_heads - 1}."
            )
        if edit.position >= time:
            raise InputError(f"The prompt has tokens 0 to {time - 1}, and an edit is for token {edit.position}.")
        hooks.append((mixer.points["hook_state"].name, at_steps(_function(model, edit, prompts), edit.position)))
    return hooks


def _function(
    model: HookedModel, edit: StateEdit, prompts: Mapping[str, str]
) -> Callable[[Tensor, HookPoint], Tensor | None]:
    if edit.kind == "patch":
        if edit.source not in prompts:
            raise InputError("The other prompt of a patch is not kept here any more; write it again.")
        mixer = recurrent_mixers(model)[edit.layer]
        tokens = model.to_tokens(prompts[edit.source])
        other = model.recurrent_states(tokens, edit.layer, [edit.source_position], mixer=mixer.index)[:, 0]

    def change(state: Tensor, hook: HookPoint) -> Tensor:
        new = other.to(state).expand_as(state) if edit.kind == "patch" else state * _factor(edit)
        if edit.head is None:
            return new.clone()
        changed = state.clone()
        changed[:, edit.head] = new[:, edit.head]
        return changed

    return change


def _factor(edit: StateEdit) -> float:
    return 0.0 if edit.kind == "zero" else edit.factor


@dataclass(frozen=True)
class Outcome:
    """What edits do.

    Attributes:
        tokens: text of every token of the prompt.
        divergence: KL(unedited || edited) of the next-token prediction at every position, in nats.
        next_tokens: the likeliest next tokens: ``token``, ``before`` and ``after`` (probabilities), ``logit_change``.
        before, after: the greedy continuation, without and with the edits.
    """

    tokens: list[str]
    divergence: Float[np.ndarray, " time"]
    next_tokens: pd.DataFrame
    before: str
    after: str


def outcome(
    model: HookedModel, prompt: str, edits: Sequence[StateEdit], prompts: Mapping[str, str], length: int
) -> Outcome:
    """Read a prompt and go on from it, without and with edits. Raises InputError as `edit_hooks`."""
    tokens = model.to_tokens(prompt)
    divergence: list[Tensor] = []
    for plain, edited in _predictions(model, tokens, edit_hooks(model, tokens.shape[1], edits, prompts)):
        first, second = plain.float().log_softmax(-1), edited.float().log_softmax(-1)
        divergence.append((first.exp() * (first - second)).sum(-1).clamp_min(0).cpu())
        last = plain[-1].float(), edited[-1].float()
    return Outcome(
        tokens=list(model.to_str_tokens(tokens[0])),
        divergence=torch.cat(divergence).numpy(),
        next_tokens=_table(model, *last),
        before=_continued(model, tokens, [], length),
        after=_continued(model, tokens, edit_hooks(model, tokens.shape[1], edits, prompts), length),
    )


def _predictions(
    model: HookedModel, tokens: Int[Tensor, "1 time"], hooks: list[Hook]
) -> Iterator[tuple[Float[Tensor, "block vocab"], Float[Tensor, "block vocab"]]]:
    """Logits without and with hooks, of one block of positions after the other; those of a block do not outlast it."""
    size = max(FEWEST, LOGITS // model.cfg.d_vocab)
    blocks = [range(begin, min(begin + size, tokens.shape[1])) for begin in range(0, tokens.shape[1], size)]
    try:
        runs = [_last_stream(model, tokens, made) for made in ([], hooks)]
    except InputError:  # layers that read at the end what all of them left with the model, so none can be left out
        with torch.no_grad():
            whole = [model.run_with_hooks(tokens, fwd_hooks=made)[0] for made in ([], hooks)]
        for block in blocks:
            yield whole[0][block.start : block.stop], whole[1][block.start : block.stop]
        return
    for block in blocks:
        first, second = (next(tail_logits(model, run, tokens, [block])) for run in runs)
        yield first, second


def _last_stream(model: HookedModel, tokens: Int[Tensor, "1 time"], hooks: list[Hook]) -> Entered:
    """What the final norm and the unembedding read; no logits are made."""
    layer = model.cfg.n_layers
    found: dict[int, Entered] = {}
    with torch.no_grad(), model.hooks(fwd_hooks=hooks), recording(model, [layer], found, stop=True):
        model(tokens, return_type=None)
    return found[layer]


def _table(model: HookedModel, before: Float[Tensor, " vocab"], after: Float[Tensor, " vocab"]) -> pd.DataFrame:
    p, q = before.softmax(-1), after.softmax(-1)
    chosen = torch.maximum(p, q).topk(min(SHOWN, len(p))).indices
    return pd.DataFrame(
        {
            "token": [model.to_str_tokens(torch.tensor([int(token)]))[0] for token in chosen],
            "before": p[chosen].cpu().numpy(),
            "after": q[chosen].cpu().numpy(),
            "logit_change": (after - before)[chosen].cpu().numpy(),
        }
    )


def _continued(model: HookedModel, tokens: Tensor, hooks: list[Hook], length: int) -> str:
    """The greedy continuation; the edits are made while the prompt is read, and what follows goes on from there."""
    with model.hooks(fwd_hooks=hooks), _last_logits_only(model):
        state = model.prefill(tokens)
    first = state.logits.argmax(-1, keepdim=True)
    if length == 1:
        return str(model.to_string(first[0]))
    return str(model.to_string(model.generate(first, length - 1, state=state, return_type="tokens")[0]))


@contextmanager
def _last_logits_only(model: HookedModel) -> Iterator[None]:
    """Let passes make the logits of the last position alone, where the model says which module makes them."""

    def cut(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not args or not isinstance(args[0], Tensor) or args[0].dim() != 3:
            return None
        return (args[0][:, -1:], *args[1:])

    head = unembedding(model.wrapped)
    if head is None:
        yield
        return
    handle = head.register_forward_pre_hook(cut)
    try:
        yield
    finally:
        handle.remove()


_MIXER = "next(m for m in model.mixers if m.layer == {layer} and 'hook_state' in m.points)"


def outcome_code(model: str, prompt: str, edits: Sequence[StateEdit], prompts: Mapping[str, str], length: int) -> str:
    """Python for `outcome`."""
    lines = ["hooks = []"]
    for number, edit in enumerate(edits):
        where = "" if edit.head is None else f"[:, {edit.head}]"
        name = f"edit{number}"
        if edit.kind == "patch":
            lines.append(f"text = {prompts.get(edit.source, '')!r}")
            lines.append(f"mixer = {_MIXER.format(layer=edit.layer)}.index")
            found = f"model.recurrent_states(text, {edit.layer}, [{edit.source_position}], mixer=mixer)[:, 0]"
            lines.append(f"other{number} = {found}")
            value = f"other{number}{where}"
        else:
            value = f"{_factor(edit):g} * state{where}"
        lines += [
            "",
            "",
            f"def {name}(state, hook):  # {edit.words()}",
            "    state = state.clone()",
            f"    state{where or '[:]'} = {value}",
            "    return state",
            "",
            "",
            f"mixer = {_MIXER.format(layer=edit.layer)}",
            f"hooks.append((mixer.points['hook_state'].name, at_steps({name}, {edit.position})))",
        ]
    lines += [
        "before = model(tokens)[0].log_softmax(-1)  # [time, vocabulary]",
        "after = model.run_with_hooks(tokens, fwd_hooks=hooks)[0].log_softmax(-1)",
        "divergence = (before.exp() * (before - after)).sum(-1)  # KL in nats, [time]",
        "with model.hooks(fwd_hooks=hooks):",
        "    state = model.prefill(tokens)",
        "first = state.logits.argmax(-1, keepdim=True)",
        f"print(model.to_string(model.generate(first, {max(1, length - 1)}, state=state, return_type='tokens')[0]))",
    ]
    return script(model, prompt, "\n".join(lines), "from workbench import at_steps")
