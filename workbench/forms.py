"""A whole mixer: a canonical form with everything linear around it, gates and norm scales held fixed.

A mixer reads `inputs` (what its input projection wrote to the value path) and writes `outputs` (what its output
projection reads), and between the two

    v = source * (conv(inputs) + conv_bias + carried_conv)         values of the core
    y = gate * (A v + carried_z + skip * v)                        outputs

with `A` the core form's matrix. For SiLU(c) = c * sigmoid(c), `source` is sigmoid(c): the non-linearity is held fixed
at its recorded value, which makes the map from `inputs` to `outputs` linear and exact (implicit attention of the whole
mixer), up to a constant: what the convolution's bias and earlier calls (a cache) put there.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import DiagonalDecay, Form, RecurrentForm, ScalarDecay, Softmax

__all__ = ["DiagonalDecay", "Form", "MixerForm", "RecurrentForm", "ScalarDecay", "Softmax"]


@dataclass(frozen=True)
class MixerForm:
    """What one layer's mixer did to one batch, recorded.

    Attributes:
        core: the recurrence or softmax alone; ``core.v`` are the values after convolution and activation.
        z: the layer's own core output, recorded (``hook_z``): what `check` compares against for ``scope="core"``.
        outputs: what the output projection read, recorded (``hook_head_out``): the same for ``scope="mixer"``.
        inputs: the value path before the convolution; None where it equals ``core.v``.
        conv: causal depthwise taps, the last one multiplies the current token; None for no convolution.
        conv_bias: added after the convolution.
        source: factor on each value (activation slope, padding mask); None means 1.
        skip: factor a head and channel on the value, added to the core's output (Mamba's D); None means 0.
        gate: factor on each output (output gate times norm scale times norm weight); None means 1.
        carried_conv: what a cache adds to the convolution's output at the first few tokens; None means 0.
        carried_z: what the state left by earlier calls adds to the core's output; None means 0. ``z`` includes it, the
            core's matrix does not (it would be a source of its own, before the first token).
    """

    core: Form
    z: Float[Tensor, "batch time heads value"]
    outputs: Float[Tensor, "batch time heads value"]
    inputs: Float[Tensor, "batch time heads value"] | None = None
    conv: Float[Tensor, "heads value taps"] | None = None
    conv_bias: Float[Tensor, "heads value"] | None = None
    source: Float[Tensor, "batch time heads value"] | None = None
    skip: Float[Tensor, "heads value"] | None = None
    gate: Float[Tensor, "batch time heads value"] | None = None
    carried_conv: Float[Tensor, "batch time heads value"] | None = None
    carried_z: Float[Tensor, "batch time heads value"] | None = None
