"""A recorded residual stream taken apart: stacks of what each part wrote, under TransformerLens' names."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.direct_logits.readings import Stack, StreamReadings
from workbench.direct_logits.slices import SliceInput, sliced
from workbench.errors import HookNameError, InputError

if TYPE_CHECKING:
    from workbench.families.base import MixerAdapter

Labels: TypeAlias = list[str]


class ResidualStacks(StreamReadings):
    """What a cache makes of the residual stream; `ActivationCache` is one.

    Layers are counted as in TransformerLens: a stack "for layer l" is of the stream that layer l reads, and layer
    `n_layers`, -1 or None is the stream that the unembedding reads. `pos_slice` chooses positions (see `SliceInput`).
    """

    @abstractmethod
    def keep(self, name: str, tensor: Tensor) -> None:
        """Add a tensor that was computed from others."""

    def accumulated_resid(
        self,
        layer: int | None = None,
        incl_mid: bool = False,
        apply_ln: bool = False,
        pos_slice: SliceInput = None,
        mlp_input: bool = False,
        return_labels: bool = False,
    ) -> Stack | tuple[Stack, Labels]:
        """The residual stream before each layer up to `layer`: what the logit lens reads (``"0_pre"``, ``"0_mid"``).

        Args:
            incl_mid: the stream between mixer and MLP, too.
            apply_ln: put each through the norm that reads the stream at `layer`. For the unembedding that is the whole
                final norm, weight and bias included, with each component's own scale; for another layer the stream is
                divided by the scale that was there.
            mlp_input: the stack ends at what the layer's MLP reads.

        Raises:
            InputError: no such layer.
            HookNameError: a stream that is needed was not recorded.
        """
        from workbench.direct_logits.anatomy import anatomy, checked_layer

        layer = checked_layer(layer, self.n_layers)
        found: list[tuple[str, Tensor]] = []
        for number in range(layer + 1):
            if number == self.n_layers:
                found.append(("final_post", self["resid_post", number - 1]))
                continue
            found.append((f"{number}_pre", self["resid_pre", number]))
            if (incl_mid and number < layer) or (mlp_input and number == layer):
                found.append((f"{number}_mid", self["resid_mid", number]))
        stack = torch.stack([sliced(stream, pos_slice, -2) for _, stream in found])
        if apply_ln and layer == self.n_layers:
            norm = anatomy(self._model()).final_norm
            stack = stack if norm is None else type(norm).forward(norm, stack)
        elif apply_ln:
            stack = self.apply_ln_to_stack(stack, layer, mlp_input, pos_slice, has_batch_dim=self.has_batch_dim)
        labels = [label for label, _ in found]
        return (stack, labels) if return_labels else stack

    def decompose_resid(
        self,
        layer: int | None = None,
        mlp_input: bool = False,
        mode: str = "all",
        apply_ln: bool = False,
        pos_slice: SliceInput = None,
        incl_embeds: bool = True,
        return_labels: bool = False,
    ) -> Stack | tuple[Stack, Labels]:
        """What the embeddings, each mixer and each MLP wrote into the stream that `layer` reads; the sum is the stream.

        Labels are ``"embed"``, ``"pos_embed"``, ``"0_attn_out"`` (``"0_mixer_out"`` for a recurrent mixer,
        ``"0_mixer1_out"`` for a block's second one) and ``"0_mlp_out"``. Where a model does more than add, what it did
        is a component of its own in mode ``"all"``: ``"embed_rest"`` (a scaled or normalised embedding) and
        ``"0_rest"`` (a block with a norm after its sum).

        Args:
            mlp_input: the mixers of `layer` itself, too: what its MLP reads.
            mode: all components, or those of MLPs or mixers only.
            apply_ln: divide by the scale of the norm that reads the stream there (see `apply_ln_to_stack`).
            incl_embeds: the embeddings, too.

        Raises:
            InputError: no such layer or mode.
            HookNameError: a part that is needed was not recorded.
        """
        from workbench.direct_logits.anatomy import checked_layer
        from workbench.direct_logits.parts import embeddings, layer_parts

        layer = checked_layer(layer, self.n_layers)
        if mode not in ("all", "mlp", "attn"):
            raise InputError(f"There is no mode {mode!r}; choose all, mlp or attn.")
        found = embeddings(self) if incl_embeds else []
        for number in range(layer):
            found.extend(layer_parts(self, number, mode))
        if mlp_input and layer < self.n_layers and mode != "mlp":
            found.extend(layer_parts(self, layer, "attn"))
        stack = self._stacked([tensor for _, tensor in found], pos_slice)
        if apply_ln:
            stack = self.apply_ln_to_stack(stack, layer, mlp_input, pos_slice, has_batch_dim=self.has_batch_dim)
        return (stack, [label for label, _ in found]) if return_labels else stack

    def stack_head_results(
        self,
        layer: int | None = -1,
        return_labels: bool = False,
        incl_remainder: bool = False,
        pos_slice: SliceInput = None,
        apply_ln: bool = False,
        group: int = 1,
    ) -> Stack | tuple[Stack, Labels]:
        """What each head of the layers before `layer` adds to the stream: its output through the output matrix.

        A head is one of a softmax attention, of a recurrent mixer (behind its norm, gate and skip), or a channel of
        Mamba-1. Labels are sites: ``"L0H1"``, ``"L0.mixer1H0"`` of a second mixer. Norms behind the output matrix
        (Gemma-2) count with the scale that they had.

        Args:
            incl_remainder: a last component ``"remainder"``: the rest of the stream.
            group: neighbouring heads taken together, such as 64 of Mamba-1's channels; labelled ``"L0H0:64"``.

        Raises:
            InputError: no such layer, or groups that do not divide a mixer's heads.
            UnsupportedFamilyError: a mixer's heads are not added to the stream through one matrix.
        """
        from workbench.direct_logits.anatomy import checked_layer
        from workbench.direct_logits.parts import head_results, site_labels

        layer = checked_layer(layer, self.n_layers)
        results, labels = list[Tensor](), Labels()
        for adapter in self._writing(range(layer)):
            made = head_results(self, self._anatomy(), adapter, pos_slice, group)
            results.append(made.movedim(-2, 0))
            labels.extend(site_labels(adapter, group))
        stack = self._completed(results, labels, layer, pos_slice, incl_remainder, apply_ln)
        return (stack, labels) if return_labels else stack

    def _completed(
        self,
        results: list[Tensor],
        labels: Labels,
        layer: int,
        pos_slice: SliceInput,
        incl_remainder: bool,
        apply_ln: bool,
    ) -> Stack:
        """Components as one stack, with the rest of the stream that `layer` reads where that is asked for."""
        if incl_remainder:
            stream = sliced(self["resid_post", layer - 1] if layer else self["resid_pre", 0], pos_slice, -2)
            explained = sum((part.sum(0) for part in results), torch.zeros_like(stream))
            results = [*results, (stream - explained)[None]]
            labels.append("remainder")
        stack = torch.cat(results) if results else self._stacked([], pos_slice)
        if apply_ln:
            stack = self.apply_ln_to_stack(stack, layer, False, pos_slice, has_batch_dim=self.has_batch_dim)
        return stack

    def compute_head_results(self) -> None:
        """Keep every head's contribution as ``cache["result", layer]``, [batch, time, head, d_model].

        Raises:
            UnsupportedFamilyError: a mixer's heads are not added to the stream through one matrix.
        """
        from workbench.direct_logits.parts import head_results

        for adapter in self._writing(range(self.n_layers)):
            name = f"blocks.{adapter.layer}.{adapter.part}.hook_result"
            if name not in self:
                self.keep(name, head_results(self, self._anatomy(), adapter, None, 1))

    def get_neuron_results(
        self, layer: int, neuron_slice: SliceInput = None, pos_slice: SliceInput = None
    ) -> Float[Tensor, "*batch_and_pos neuron d_model"]:
        """What each hidden unit of a layer's MLP adds to the stream.

        Raises:
            InputError: no such layer, or one whose MLP has no hidden units that one matrix reads.
        """
        from workbench.direct_logits.parts import neuron_results

        if not 0 <= layer < self.n_layers:
            raise InputError(f"Layer {layer} is out of range: the model has layers 0 to {self.n_layers - 1}.")
        return neuron_results(self, self._anatomy(), layer, neuron_slice, pos_slice)

    def stack_neuron_results(
        self,
        layer: int | None,
        pos_slice: SliceInput = None,
        neuron_slice: SliceInput = None,
        return_labels: bool = False,
        incl_remainder: bool = False,
        apply_ln: bool = False,
    ) -> Stack | tuple[Stack, Labels]:
        """What each hidden unit of the MLPs before `layer` adds to the stream, labelled ``"L0N5"``.

        It holds units x positions x d_model numbers: choose positions, or units.

        Raises:
            InputError: no such layer, or one whose MLP has no hidden units that one matrix reads.
        """
        from workbench.direct_logits.anatomy import checked_layer

        layer = checked_layer(layer, self.n_layers)
        results, labels = list[Tensor](), Labels()
        for number in range(layer):
            if f"blocks.{number}.hook_mlp_out" not in self._model().points:
                continue
            made = self.get_neuron_results(number, neuron_slice, pos_slice)
            if isinstance(neuron_slice, int):
                made = made[..., None, :]
            results.append(made.movedim(-2, 0))
            units = sliced(torch.arange(self["post", number].shape[-1]), neuron_slice, 0).reshape(-1).tolist()
            labels.extend(f"L{number}N{unit}" for unit in units)
        stack = self._completed(results, labels, layer, pos_slice, incl_remainder, apply_ln)
        return (stack, labels) if return_labels else stack

    def get_full_resid_decomposition(
        self,
        layer: int | None = None,
        mlp_input: bool = False,
        expand_neurons: bool = True,
        apply_ln: bool = False,
        pos_slice: SliceInput = None,
        return_labels: bool = False,
        group: int = 1,
    ) -> Stack | tuple[Stack, Labels]:
        """Every head, every neuron (or MLP), the embeddings, and ``"bias"``; the sum is the stream that `layer` reads.

        The bias is what no head and no neuron explains: the biases of the output matrices, and what a model does to
        its stream besides adding (see `decompose_resid`). `group` is as in `stack_head_results`.

        Raises:
            InputError: no such layer; see `stack_head_results` and `get_neuron_results`.
        """
        from workbench.direct_logits.anatomy import checked_layer
        from workbench.direct_logits.parts import embeddings

        layer = checked_layer(layer, self.n_layers)
        until = min(layer + bool(mlp_input), self.n_layers)
        heads, labels = self.stack_head_results(until, return_labels=True, pos_slice=pos_slice, group=group)
        assert isinstance(labels, list)
        stacks = [heads]
        if expand_neurons:
            mlps = self.stack_neuron_results(layer, pos_slice, return_labels=True)
        else:
            mlps = self.decompose_resid(layer, False, "mlp", False, pos_slice, incl_embeds=False, return_labels=True)
        embedded = embeddings(self)
        stacks += [mlps[0], self._stacked([tensor for _, tensor in embedded], pos_slice)]
        labels = [*labels, *mlps[1], *(label for label, _ in embedded), "bias"]
        whole = self["resid_mid", layer] if mlp_input and layer < self.n_layers else self._stream(layer)
        explained = sum((stack.sum(0) for stack in stacks), torch.zeros(()))
        stack = torch.cat([*stacks, (sliced(whole, pos_slice, -2) - explained)[None]])
        if apply_ln:
            stack = self.apply_ln_to_stack(stack, layer, mlp_input, pos_slice, has_batch_dim=self.has_batch_dim)
        return (stack, labels) if return_labels else stack

    def _writing(self, layers: range) -> list[MixerAdapter]:
        return [adapter for adapter in self._anatomy().heads if adapter.layer in layers]

    def _stacked(self, tensors: list[Tensor], pos_slice: SliceInput) -> Stack:
        if tensors:
            return torch.stack([sliced(tensor, pos_slice, -2) for tensor in tensors])
        like = next((self[name] for name in ("hook_embed", "blocks.0.hook_resid_pre") if name in self), None)
        if like is None:
            raise HookNameError("There is no component, and neither hook_embed nor hook_resid_pre tells their shape.")
        shape = sliced(like, pos_slice, -2).shape
        return like.new_zeros(0, *shape)
