"""Falcon-H1's Mamba-2 (Zuo et al. 2025, arXiv:2507.22448): fixed multipliers, and a norm that may be left out.

The input and each section of its projection (gate, values, B, C, time steps) are multiplied with constants (muP,
section 3.2). The gated norm after the recurrence comes before the gate, after it, or not at all.
"""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from workbench.families.base import register
from workbench.families.mamba2 import Mamba2Adapter
from workbench.mixing import Inlet, Outlet, Values


@register
class FalconH1Adapter(Mamba2Adapter):
    """``FalconH1Mixer`` of transformers, which runs beside an attention module in the same block."""

    family: str = "falcon_h1"
    mixer_classes: ClassVar[tuple[str, ...]] = ("FalconH1Mixer",)

    def __init__(self, module: nn.Module, layer: int) -> None:
        norm: Any = getattr(module, "norm", None)
        self._normed = norm is not None and not isinstance(norm, nn.Identity)
        self._norm_first = self._normed and bool(norm.norm_before_gate)
        super().__init__(module, layer)

    @property
    def _inner(self) -> int:
        return self.submodule("conv1d").get_parameter("weight").shape[0] - 2 * self._groups * self._states

    @property
    def _states(self) -> int:
        module: Any = self.module
        return int(module.ssm_state_size)

    def projected(self, hidden: Float[Tensor, "batch time model"]) -> Float[Tensor, "batch time projected"]:
        module: Any = self.module
        flat: Tensor = self.submodule("in_proj")(hidden * module.ssm_in_multiplier) * module.mup_vector
        return flat

    def read_out(self, z: Values, inlet: Inlet) -> Outlet:
        skip = self.skip(z)
        if not self._normed:
            return Outlet(skip=skip)
        assert inlet.gate is not None  # `read_in` gives one
        y = z + skip * inlet.form.v
        scale = self.norm_scale(y if self._norm_first else y * inlet.gate)
        return Outlet(scale=scale, skip=scale * skip)
