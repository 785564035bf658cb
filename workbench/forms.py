"""A whole mixer: a canonical form with everything linear around it, gates and norm scales held fixed.

A mixer reads `inputs` (what its input projection wrote to the value path) and writes `outputs` (what its output
projection reads), and between the two

    v = source * conv(inputs) + value_offset             values of the core
    y = gate * C(A v + carried_z) + skip * v + offset    outputs

with `A` the core form's matrix and `C` the subtraction of the mean over a head's channels, where a norm does that. For
SiLU(c) = c * sigmoid(c), `source` is sigmoid(c): the non-linearity is held fixed at its recorded value, which makes the
map from `inputs` to `outputs` linear and exact (implicit attention of the whole mixer), up to a constant: what biases,
other layers and earlier calls (a cache) put there.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import Delta, DiagonalDecay, Form, RecurrentForm, ScalarDecay, Softmax, Toeplitz

__all__ = ["Delta", "DiagonalDecay", "Form", "MixerForm", "RecurrentForm", "ScalarDecay", "Softmax", "Toeplitz"]


@dataclass(frozen=True)
class MixerForm:
    """What one layer's mixer did to one batch, recorded.

    Attributes:
        core: the recurrence or softmax alone; ``core.v`` are the values after convolution and activation.
        z: the layer's own core output, recorded (``hook_z``): what `check` compares against for ``scope="core"``.
        outputs: what the output projection read, recorded (``hook_head_out``): the same for ``scope="mixer"``.
        inputs: the value path before the convolution; None where it equals ``core.v``.
        conv: causal depthwise taps, the last one multiplies the current token; None for no convolution.
        source: factor on each value (activation slope, input gate, padding mask); None means 1.
        value_offset: what no token of this call put into the values: a convolution's bias, what a cache left in it,
            another layer's values; None for nothing.
        gate: factor on each core output (output gate times norm scale times norm weight); None means 1.
        skip: factor on the value of the same token (Mamba's D times its gate); None means 0.
        offset: what is added at the end (a norm's bias times the gate); None means 0.
        centred: whether a norm subtracts the mean over each head's channels (then there is no convolution).
        carried_z: what the state left by earlier calls adds to the core's output; None means 0. ``z`` includes it, the
            core's matrix does not (it would be a source of its own, before the first token).
        conditional: whether the gates read the recurrence's own state (LSTM, GRU): exact given the gates.
    """

    core: Form
    z: Float[Tensor, "batch time heads value"]
    outputs: Float[Tensor, "batch time heads value"]
    inputs: Float[Tensor, "batch time heads value"] | None = None
    conv: Float[Tensor, "heads value taps"] | None = None
    source: Float[Tensor, "batch time heads value"] | None = None
    value_offset: Float[Tensor, "batch time heads value"] | None = None
    gate: Float[Tensor, "batch time heads value"] | None = None
    skip: Float[Tensor, "batch time heads value"] | None = None
    offset: Float[Tensor, "batch time heads value"] | None = None
    centred: bool = False
    carried_z: Float[Tensor, "batch time heads value"] | None = None
    conditional: bool = False
