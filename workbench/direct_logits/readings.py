"""From a stack of residual components to a token's logit, the final norm's scale held at what it was."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.direct_logits.slices import SliceInput, sliced
from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.direct_logits.anatomy import Anatomy
    from workbench.running import RunnableModel

Stack: TypeAlias = "Float[Tensor, 'component *batch_and_pos d_model']"
AnyTokens: TypeAlias = "int | str | Int[Tensor, '*places']"


class StreamReadings(ABC):
    """What the norms and the unembedding of a run make of its residual stream.

    Attributes:
        n_layers: residual blocks.
        model: whose run it was; it is asked for its norms and output matrices, none of its hooks is used.
        has_batch_dim: whether recorded tensors have a batch axis in front.
    """

    n_layers: int
    model: RunnableModel | None
    has_batch_dim: bool

    @abstractmethod
    def __getitem__(self, key: Any) -> Tensor:
        """A recorded tensor."""

    @abstractmethod
    def __contains__(self, key: object) -> bool:
        """Whether it was recorded."""

    def apply_ln_to_stack(
        self,
        residual_stack: Stack,
        layer: int | None = None,
        mlp_input: bool = False,
        pos_slice: SliceInput = None,
        batch_slice: SliceInput = None,
        has_batch_dim: bool = True,
    ) -> Float[Tensor, "component ... d_model"]:
        """Components divided by the scale of the norm that reads the stream at `layer`, their means taken off.

        The scale is that of the whole stream in this run, one number a token, so the result is linear in the
        components. LayerNorm takes off each component's mean, RMSNorm does not; the norm's weight and bias are no part
        of it, as in TransformerLens (`logit_attrs` puts the weight into the direction). A layer that reads the stream
        without a norm leaves the stack as it is.

        Args:
            mlp_input: the norm before the layer's MLP instead of the one before its mixer.
            pos_slice, batch_slice: which positions and sequences the stack has; `batch_slice` is taken of the stack,
                too, where that `has_batch_dim`.

        Raises:
            InputError: no such layer.
            HookNameError: the stream was not recorded there.
        """
        from workbench.direct_logits.anatomy import checked_layer
        from workbench.direct_logits.norms import LinearNorm

        layer = checked_layer(layer, self.n_layers)
        if has_batch_dim:
            residual_stack = sliced(residual_stack, batch_slice, 1)
        norm = self._anatomy().norm_before(layer, mlp_input and layer < self.n_layers, self.n_layers)
        if norm is None:
            return residual_stack
        read = self._stream(layer, mlp_input)
        linear = LinearNorm.of(norm, read)
        inverse = linear.inverse_scale(read, type(norm).forward(norm, read))
        inverse = sliced(inverse, pos_slice, -2)
        if self.has_batch_dim:
            inverse = sliced(inverse, batch_slice, 0)
        return linear.moved(residual_stack) * inverse

    def logit_attrs(
        self,
        residual_stack: Stack,
        tokens: AnyTokens,
        incorrect_tokens: AnyTokens | None = None,
        pos_slice: SliceInput = None,
        batch_slice: SliceInput = None,
        has_batch_dim: bool = True,
    ) -> Float[Tensor, "component ..."]:
        """What each component puts into a token's logit, or into the difference of two (direct logit attribution).

        The final norm is held at the scale that it had, which makes the logit linear in the stream. The direction is
        the token's column of the unembedding times the norm's weight: TransformerLens' numbers for weights whose norm
        is folded (its default), and unlike its numbers for unfolded ones these add up. The sum over a complete stack
        plus `logit_bias` is the logit, before a soft cap where a model has one.

        Args:
            residual_stack: components of the final stream, from `decompose_resid` or `stack_head_results`, without
                `apply_ln`.
            tokens: one token (id or text), one a sequence ``[batch]``, or one a place ``[batch, position]``.
            incorrect_tokens: tokens whose logits are taken off, in the same shape.

        Raises:
            InputError: shapes that differ, a token outside the vocabulary, or a text of several tokens.
        """
        direction = self._direction(tokens)
        if incorrect_tokens is not None:
            other = self._direction(incorrect_tokens)
            if other.shape != direction.shape:
                raise InputError(
                    f"tokens has shape {[*direction.shape[:-1]]} and incorrect_tokens {[*other.shape[:-1]]}; "
                    "they must be alike."
                )
            direction = direction - other
        scaled = self.apply_ln_to_stack(residual_stack, -1, False, pos_slice, batch_slice, has_batch_dim)
        if direction.dim() == 2 and has_batch_dim and scaled.dim() == 4:
            direction = direction[:, None]  # a token a sequence, at all of its positions
        return (scaled * direction.to(scaled.device)).sum(-1)

    def vocabulary_attrs(
        self, residual_stack: Stack, pos_slice: SliceInput = None, batch_slice: SliceInput = None
    ) -> Float[Tensor, "component *batch_and_pos vocab"]:
        """What each component puts into every token's logit: `logit_attrs` of the whole vocabulary.

        It holds components x positions x vocabulary numbers: choose positions.
        """
        scaled = self.apply_ln_to_stack(residual_stack, -1, False, pos_slice, batch_slice, self.has_batch_dim)
        everything = torch.arange(self._anatomy().unembed.weight.shape[1])
        return scaled @ self._anatomy().direction(everything, self._like()).to(scaled).T

    def logit_bias(self, tokens: AnyTokens, incorrect_tokens: AnyTokens | None = None) -> Float[Tensor, "*tokens"]:
        """What the biases of the final norm and of the unembedding put into a token's logit, whatever the input.

        Raises:
            InputError: as `logit_attrs`.
        """
        constant = self._anatomy().constant(self._ids(tokens), self._like())
        if incorrect_tokens is None:
            return constant
        return constant - self._anatomy().constant(self._ids(incorrect_tokens), self._like())

    def _model(self) -> RunnableModel:
        if self.model is None:
            raise InputError("This cache knows no model, so norms and output matrices are missing; use run_with_cache.")
        return self.model

    def _anatomy(self) -> Anatomy:
        from workbench.direct_logits.anatomy import anatomy

        return anatomy(self._model())

    def _stream(self, layer: int, mlp_input: bool = False) -> Float[Tensor, "*batch_and_pos d_model"]:
        """The stream that a layer, its MLP or the unembedding reads."""
        if layer == self.n_layers:
            return self["resid_post", layer - 1]
        if mlp_input and f"blocks.{layer}.hook_resid_mid" in self._model().points:
            return self["resid_mid", layer]
        return self["resid_pre", layer]

    def _ids(self, tokens: AnyTokens) -> Int[Tensor, "*tokens"]:
        if isinstance(tokens, str):
            ids = self._model().tokens.encode(tokens, prepend_bos=False)[0][0]
            if len(ids) != 1:
                raise InputError(f"{tokens!r} is {len(ids)} tokens; a logit is of one token.")
            return ids[0]
        ids = torch.as_tensor(tokens)
        vocabulary = self._anatomy().unembed.weight.shape[1]
        if ids.is_floating_point() or ids.dtype == torch.bool or bool(((ids < 0) | (ids >= vocabulary)).any()):
            raise InputError(f"Tokens are numbers from 0 to {vocabulary - 1}; got {tokens!r}.")
        return ids

    def _like(self) -> Float[Tensor, " d_model"]:
        weight = self._anatomy().unembed.weight
        return weight.new_empty(weight.shape[0])

    def _direction(self, tokens: AnyTokens) -> Float[Tensor, "... d_model"]:
        return self._anatomy().direction(self._ids(tokens), self._like())
