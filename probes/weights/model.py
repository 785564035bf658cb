"""All matrices of a model under TransformerLens' names, stacked over layers where the layers agree."""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.direct_logits.anatomy import anatomy
from workbench.direct_logits.norms import LinearNorm
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.weights.factored import FactoredMatrix
from workbench.probes.weights.heads import HeadWeights, all_head_weights


class ModelWeights:
    """A model's matrices; read once, when they are first asked for.

    Attributes:
        model: whose they are.
        fold_norm: whether what reads the residual stream (W_Q, W_K, W_V, W_in, W_gate, W_U) is multiplied with the
            weight of the norm before it.
        mixer: which of a layer's mixers; layers without it are left out (`layers` lists the others).
    """

    @checked_call
    def __init__(self, model: HookedModel, *, fold_norm: bool = False, mixer: int = 0) -> None:
        """Raises InputError where no layer has such a mixer."""
        self.model, self.fold_norm, self.mixer = model, fold_norm, mixer
        self._mixers = model.mixers_of(None, mixer)

    @property
    def layers(self) -> list[int]:
        """The layers whose heads are stacked, in order."""
        return [adapter.layer for adapter in self._mixers]

    @cached_property
    def heads(self) -> list[HeadWeights]:
        """Every layer's heads, which need not agree in size."""
        return all_head_weights(self.model, self._mixers, fold_norm=self.fold_norm)

    @property
    def W_E(self) -> Float[Tensor, "vocab d_model"]:
        """The token embedding."""
        return self.model.layout.embed.weight.detach()

    @property
    def W_pos(self) -> Float[Tensor, "position d_model"]:
        """The position embedding. Raises InputError for a model without a learned one."""
        weight = getattr(self.model.layout.pos_embed, "weight", None)
        if not isinstance(weight, Tensor):
            raise InputError(f"{self.model.cfg.model_name} has no learned position embedding.")
        return weight.detach()

    @property
    def W_U(self) -> Float[Tensor, "d_model vocab"]:
        """The unembedding."""
        weight = anatomy(self.model).unembed.weight
        norm = anatomy(self.model).final_norm
        if not self.fold_norm or norm is None:
            return weight
        with torch.no_grad():
            return weight * LinearNorm.of(norm, self.W_E[:1]).weight[:, None].to(weight)

    @property
    def W_Q(self) -> Float[Tensor, "layer head d_model d_key"]:
        """Query matrices. Raises InputError where layers differ in shape or have none."""
        return self._stacked("W_Q")

    @property
    def W_K(self) -> Float[Tensor, "layer head d_model d_key"]:
        """Key matrices, once a query head. Raises InputError where layers differ in shape or have none."""
        return self._stacked("W_K")

    @property
    def W_V(self) -> Float[Tensor, "layer head d_model d_value"]:
        """Value matrices, once a query head. Raises InputError where layers differ in shape."""
        return self._stacked("W_V")

    @property
    def W_O(self) -> Float[Tensor, "layer head d_value d_model"]:
        """Output matrices. Raises InputError where layers differ in shape or have none."""
        return self._stacked("W_O")

    @property
    def OV(self) -> FactoredMatrix:
        """``W_V W_O`` of every layer and head."""
        return FactoredMatrix(self.W_V, self.W_O)

    @property
    def QK(self) -> FactoredMatrix:
        """``W_Q W_K'`` of every layer and head."""
        return FactoredMatrix(self.W_Q, self.W_K.transpose(-1, -2))

    @property
    def W_in(self) -> Float[Tensor, "layer d_model d_mlp"]:
        """What MLPs read with; in gated ones what the gate multiplies. Raises InputError where layers differ."""
        return torch.stack([self.mlp(layer)[0] for layer in self._with_mlp()])

    @property
    def W_gate(self) -> Float[Tensor, "layer d_model d_mlp"]:
        """The matrices before the non-linearity of gated MLPs. Raises InputError where there are none."""
        gates = [self.mlp(layer)[1] for layer in self._with_mlp()]
        if any(gate is None for gate in gates):
            raise InputError(f"{self.model.cfg.model_name} has MLPs without a gate.")
        return torch.stack([gate for gate in gates if gate is not None])

    @property
    def W_out(self) -> Float[Tensor, "layer d_mlp d_model"]:
        """What MLPs write with."""
        return torch.stack([self.mlp(layer)[2] for layer in self._with_mlp()])

    def mlp(
        self, layer: int
    ) -> tuple[Float[Tensor, "d_model d_mlp"], Float[Tensor, "d_model d_mlp"] | None, Float[Tensor, "d_mlp d_model"]]:
        """``W_in``, ``W_gate`` (None without one) and ``W_out`` of one layer.

        Raises:
            InputError: no such layer, or an MLP that is not made of such matrices (experts, one fused matrix).
        """
        layer, found = self.model.layer_index(layer), anatomy(self.model)
        inward, writer = found.inward.get(layer, ()), found.neurons.get(layer)
        if writer is None or not inward:
            raise InputError(f"The MLP of layer {layer} of {self.model.cfg.model_name} is not made of plain matrices.")
        norm = found.reading.get((layer, True))
        matrices = [matrix.weight for matrix in inward]
        if self.fold_norm and norm is not None:
            with torch.no_grad():
                weight = LinearNorm.of(norm, self.W_E[:1]).weight
            matrices = [matrix * weight[:, None].to(matrix) for matrix in matrices]
        first, other = matrices[0], matrices[1] if len(matrices) > 1 else None
        return (first, None, writer.weight()) if other is None else (other, first, writer.weight())

    def _with_mlp(self) -> list[int]:
        layers = sorted(anatomy(self.model).neurons)
        if not layers:
            raise InputError(f"{self.model.cfg.model_name} has no MLP made of plain matrices.")
        return layers

    def _stacked(self, name: str) -> Float[Tensor, "layer head rows columns"]:
        matrices = [getattr(heads, name) for heads in self.heads]
        shapes = {None if matrix is None else tuple(matrix.shape) for matrix in matrices}
        if len(shapes) > 1 or None in shapes:
            raise InputError(
                f"The layers of {self.model.cfg.model_name} do not all have {name} in one shape; "
                "ask head_weights(model, layer) for each."
            )
        return torch.stack(matrices)
