"""Every mixer as a linear system ``S_t = L_t S_{t-1} + B_t v_t``, ``y_t = C_t S_t + D_t v_t``, on one page.

Transition, input, output and skip are the four terms in which Sieber et al. (2024, "Understanding the Differences in
Foundation Models: Attention, State Space Models, and Recurrent Neural Networks", arXiv:2405.15731) compare
architectures. A softmax has no state of fixed size: its keys and values are kept unchanged, so its transition counts as
1 here and its state grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.forms import Delta, Form, MixerForm, Softmax, Toeplitz
from workbench.model import HookedModel
from workbench.probes.memory.half_life import log_decays
from workbench.probes.memory.state_size import state_sizes
from workbench.wrapping import ModelInput


@dataclass(frozen=True)
class LinearSystem:
    """A recurrent form at some steps; heads share keys as the form does, written out for each.

    Attributes:
        decay: what a step leaves of each key dimension.
        probe, erase: of the rank-one term, ``L = (I - erase probe') diag(decay)``; None without one.
        input: `B`, the direction in which a value is written, its strength included.
        output: `C`, the direction in which the state is read, its normaliser included.
        direct: what row `t` reads of its own value where it reads the state as the step before left it (RWKV), which
            makes `output` one of the state before; None where it reads its own state.
    """

    decay: Float[Tensor, "batch steps heads key"]
    probe: Float[Tensor, "batch steps heads key"] | None
    erase: Float[Tensor, "batch steps heads key"] | None
    input: Float[Tensor, "batch steps heads key"]
    output: Float[Tensor, "batch steps heads key"]
    direct: Float[Tensor, "batch steps heads"] | None

    @property
    def transition(self) -> Float[Tensor, "batch steps heads key key"]:
        """`L`, written out."""
        whole = torch.diag_embed(self.decay)
        if self.probe is None or self.erase is None:
            return whole
        return whole - self.erase[..., :, None] * (self.probe * self.decay)[..., None, :]

    @property
    def spectrum(self) -> Complex[Tensor, "batch steps heads key"]:
        """Eigenvalues of `L`: what one step does to each of its own directions."""
        if self.probe is None:
            return torch.complex(self.decay, torch.zeros_like(self.decay))
        values: Tensor = torch.linalg.eigvals(self.transition)
        return values

    @property
    def gain(self) -> Float[Tensor, "batch steps heads"]:
        """Largest singular value of `L`: what one step can do to a state at most."""
        if self.probe is None:
            return self.decay.abs().amax(-1)
        found: Tensor = torch.linalg.matrix_norm(self.transition, ord=2)
        return found


def linear_system(form: Form, steps: Sequence[int] | None = None) -> LinearSystem:
    """The system that a recurrent form is, at the listed steps (all).

    Raises:
        InputError: a softmax or a convolution, whose state is a list of values and not one matrix; no such step.
    """
    if isinstance(form, Softmax | Toeplitz):
        raise InputError(f"{type(form).__name__} has no state of one matrix; only decays and delta rules are systems.")
    at = list(range(form.time)) if steps is None else [int(step) for step in steps]
    if not at or not all(0 <= step < form.time for step in at):
        raise InputError(f"Steps go from 0 to {form.time - 1}, and at least one is needed; got {at}.")

    def each(operand: Tensor) -> Tensor:
        """Groups written out for every head, wide enough for eigenvalues."""
        chosen = operand[:, at].detach().to(torch.float64)
        return chosen.repeat_interleave(form.heads // chosen.shape[2], dim=2)

    def strength(operand: Tensor | None) -> Tensor | float:
        return 1.0 if operand is None else operand[:, at].detach().double()[..., None]

    logs = log_decays(form)
    assert logs is not None  # of a form that decays
    key = each(form.k)
    decay = logs[:, at].detach().double().exp().expand(*key.shape)
    written = key * strength(form.write)
    probe = erase = None
    if isinstance(form, Delta):
        probe = key if form.probe is None else each(form.probe)
        erase = written if form.erase is None else each(form.erase)
    direct = None if form.diagonal is None else form.diagonal[:, at].detach().double()
    return LinearSystem(decay, probe, erase, written, each(form.q) * strength(form.read), direct)


@checked_call
@torch.no_grad()
def mixer_systems(
    model: HookedModel, input: ModelInput, *, steps: int = 16, lengths: Sequence[int] = (1024,)
) -> pd.DataFrame:
    """All mixers of a model on one page: spectra, strengths and state sizes on a text.

    Args:
        input: sequences of one length.
        steps: tokens at which systems are read off, evenly spaced.
        lengths: as in `state_sizes`.

    Returns:
        One row a mixer, the columns of `state_sizes` and: ``form``; ``radius`` (mean of the largest magnitude of an
        eigenvalue), ``slow`` and ``fast`` (95 % and 5 % quantile of the magnitudes over steps, heads and dimensions),
        ``negative`` (share of eigenvalues whose real part is below 0: what a delta rule flips), ``gain`` (mean largest
        singular value); ``input``, ``output`` and ``skip`` (root mean square norms of `B`, `C` and of the factor on a
        token's own value).

    Raises:
        InputError: sequences of different lengths or no steps.
    """
    tokens, mask = model.prepared(input, None)
    if mask is not None:
        raise InputError("Systems are read off at the same steps of all sequences; give sequences of one length.")
    if steps < 1:
        raise InputError(f"steps is {steps}; at least one is needed.")
    time = tokens.shape[1]
    at = sorted({round(step) for step in torch.linspace(0, time - 1, min(steps, time)).tolist()})
    rows = []
    for _, attention in model.implicit_attentions(tokens, mixer=None):
        rows.append(_row(attention.form, at))
    sizes = state_sizes(model, lengths)
    return pd.concat([sizes, pd.DataFrame(rows)], axis=1)


def _row(form: MixerForm, at: list[int]) -> dict[str, object]:
    core = form.core
    row: dict[str, object] = {"form": type(core).__name__}
    if isinstance(core, Toeplitz):
        kernel = core.kernel.double().norm(dim=1)
        numbers = {"radius": 0.0, "slow": 0.0, "fast": 0.0, "negative": 0.0, "gain": 1.0, "input": 1.0}
        return row | numbers | {"output": _rms(kernel), "skip": _skip(form, None, at)}
    if isinstance(core, Softmax):
        kept = {"radius": 1.0, "slow": 1.0, "fast": 1.0, "negative": 0.0, "gain": 1.0}
        ends = {"input": _rms(core.k.double().norm(dim=-1)), "output": core.scale * _rms(core.q.double().norm(dim=-1))}
        return row | kept | ends | {"skip": _skip(form, None, at)}
    system = linear_system(core, at)
    spectrum = system.spectrum
    sizes = spectrum.abs().flatten().sort().values
    return row | {
        "radius": float(spectrum.abs().amax(-1).mean()),
        "slow": float(sizes[round(0.95 * (len(sizes) - 1))]),
        "fast": float(sizes[round(0.05 * (len(sizes) - 1))]),
        "negative": float((spectrum.real < 0).double().mean()),
        "gain": float(system.gain.mean()),
        "input": _rms(system.input.norm(dim=-1)),
        "output": _rms(system.output.norm(dim=-1)),
        "skip": _skip(form, system, at),
    }


def _skip(form: MixerForm, system: LinearSystem | None, at: list[int]) -> float:
    """The factor on a token's own value beside the state: a skip's, or an exclusive reader's."""
    if form.skip is not None:
        return _rms(form.skip[:, at])
    return 0.0 if system is None or system.direct is None else _rms(system.direct)


def _rms(values: Float[Tensor, "*shape"]) -> float:
    return float(values.double().square().mean().sqrt())
