"""One mixer's weights a head, under TransformerLens' names, and the circuits that they make."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.direct_logits.anatomy import anatomy
from workbench.direct_logits.norms import LinearNorm
from workbench.errors import InputError
from workbench.families.base import MixerAdapter
from workbench.model import HookedModel
from workbench.probes.weights.factored import FactoredMatrix
from workbench.probes.weights.slopes import Operand, operand_slopes


@dataclass(frozen=True, eq=False)
class HeadWeights:
    """The matrices of a mixer's heads; grouped queries, keys and values are there once a head.

    In softmax attention these are the parameters. In a recurrent mixer ``W_V`` and ``W_O`` are the ends of the value
    path (what the input projection writes to a head, before its convolution and activation; what the output projection
    makes of the head) and ``W_K`` and ``W_Q`` say what is written into the state and read from it: B and C of
    Mamba and Mamba-2, keys and queries of linear attention and of delta rules. What stands between (convolution,
    activation, decay, gate, norm) depends on the input and is left out: circuits of these matrices are the linear part
    alone. `linear` says of each operand whether its matrix is all of it.

    Attributes:
        layer, mixer: where.
        W_Q, W_K: ``[head, d_model, d_key]``; None for a mixer without (RWKV-4, LSTM, GRU).
        W_V: ``[head, d_model, d_value]``.
        W_O: ``[head, d_value, d_model]``, with the multiplier that some models put behind it; None for a mixer whose
            heads are not added to the residual stream.
        linear: by operand (``"q"``, ``"k"``, ``"v"``): whether its matrix is the whole map.
    """

    layer: int
    mixer: int
    W_Q: Float[Tensor, "head d_model d_key"] | None
    W_K: Float[Tensor, "head d_model d_key"] | None
    W_V: Float[Tensor, "head d_model d_value"]
    W_O: Float[Tensor, "head d_value d_model"] | None
    linear: dict[str, bool]

    @property
    def OV(self) -> FactoredMatrix:
        """``W_V W_O`` a head: what a head adds to the stream of what it reads there. Raises InputError without W_O."""
        if self.W_O is None:
            raise InputError(f"Mixer {self.mixer} of layer {self.layer} does not write into the residual stream.")
        return FactoredMatrix(self.W_V, self.W_O)

    @property
    def QK(self) -> FactoredMatrix:
        """``W_Q W_K'`` a head: which destination reads which source. Raises InputError for a mixer without."""
        if self.W_Q is None or self.W_K is None:
            raise InputError(
                f"Mixer {self.mixer} of layer {self.layer} has no queries and keys: its channels write and read "
                "whatever the tokens are."
            )
        return FactoredMatrix(self.W_Q, self.W_K.transpose(-1, -2))

    def circuit(self, name: str) -> FactoredMatrix:
        """``"OV"`` or ``"QK"``. Raises InputError for another name."""
        if name not in ("OV", "QK"):
            raise InputError(f"There is no circuit {name!r}; there are OV and QK.")
        return self.OV if name == "OV" else self.QK


@checked_call
def head_weights(
    model: HookedModel, layer: int, mixer: int = 0, *, fold_norm: bool = False, lag: int = 0
) -> HeadWeights:
    """The weights of one mixer's heads.

    Args:
        fold_norm: multiply what reads the stream with the weight of the norm before it, as TransformerLens does when
            it folds norms; without, the matrices act on the normalised stream.
        lag: 1 for what the token before the current one puts into q, k and v (token shift, short convolution).

    Raises:
        InputError: no such layer or mixer, or a lag other than 0 and 1.
    """
    adapter = model.mixer(layer, mixer)
    if adapter.n_heads == 0:
        raise InputError(f"Layer {adapter.layer} of {model.cfg.model_name} has no token mixer.")
    return all_head_weights(model, [adapter], fold_norm=fold_norm, lag=lag)[0]


@checked_call
def output_weights(model: HookedModel, layer: int, mixer: int = 0) -> Float[Tensor, "head d_value d_model"]:
    """``W_O`` of one mixer's heads alone, without the pass that the other matrices take.

    Raises:
        InputError: no such layer or mixer, or one that is not added to the residual stream by heads.
    """
    adapter = model.mixer(layer, mixer)
    writer = anatomy(model).heads.get(adapter)
    if writer is None:
        raise InputError(f"Mixer {mixer} of layer {adapter.layer} does not write into the residual stream by heads.")
    weights: Tensor = writer.weight().detach().unflatten(0, (adapter.n_heads, -1))
    return weights


def all_head_weights(
    model: HookedModel, mixers: list[MixerAdapter], *, fold_norm: bool = False, lag: int = 0
) -> list[HeadWeights]:
    """`head_weights` of several mixers, from one pass. Raises InputError for a lag other than 0 and 1."""
    if lag not in (0, 1):
        raise InputError(f"lag is {lag}; the current token is 0 and the one before it 1.")
    writers, made = anatomy(model).heads, operand_slopes(model, mixers, lag)
    result = []
    for adapter in mixers:
        found, heads = made[adapter], adapter.n_heads
        factor = _norm_weight(model, adapter) if fold_norm else None
        # A query or key that is the same whatever is read is a form's way to say that there is none.
        found = {name: operand for name, operand in found.items() if name == "v" or lag or operand.weight.any()}
        q, k, v = (_each_head(found.get(name), heads, factor) for name in ("q", "k", "v"))
        assert v is not None  # every mixer has values
        writer = writers.get(adapter)
        out = None if writer is None else writer.weight().to(v.dtype).unflatten(0, (heads, -1))
        linear = {name: operand.linear for name, operand in found.items()}
        result.append(HeadWeights(adapter.layer, adapter.index, q, k, v, out, linear))
    return result


def _each_head(operand: Operand | None, heads: int, factor: Tensor | None) -> Float[Tensor, "head d_model size"] | None:
    if operand is None:
        return None
    weight = operand.weight if factor is None else operand.weight * factor[:, None].to(operand.weight)
    groups = len(weight)
    return weight.expand(heads, -1, -1) if groups == 1 else weight.repeat_interleave(heads // groups, 0)


def _norm_weight(model: HookedModel, adapter: MixerAdapter) -> Float[Tensor, " d_model"] | None:
    norm = anatomy(model).reading.get((adapter.layer, False))
    if norm is None:
        return None
    with torch.no_grad():
        return LinearNorm.of(norm, model.layout.embed.weight[:1]).weight
