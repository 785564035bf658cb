"""HookedModel: a language model whose every intermediate tensor can be read and changed by name."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.cache import ActivationCache, Recorder
from workbench.config import ModelConfig, describe
from workbench.errors import InputError, LoadError
from workbench.families.base import MixerAdapter
from workbench.families.layouts import find_layout
from workbench.forms import MixerForm
from workbench.generation import generate
from workbench.hooks import HookFunction, HookPoint, HookPoints, NamesFilter
from workbench.instrument import Instrument
from workbench.loss import next_token_loss
from workbench.placement import check_placement
from workbench.stock import StockCall, StockOutput, leaving_no_trace, positions
from workbench.stopping import Stopped, stopping
from workbench.tokens import Tokens, as_integers, check_choice

if TYPE_CHECKING:
    from workbench.attention import ImplicitAttention
    from workbench.attribution import Attribution, Target
    from workbench.knockout import Cut, Knockout
    from workbench.states import ModelState

ModelInput: TypeAlias = "str | Sequence[str] | Sequence[int] | Tensor"
Mask: TypeAlias = "Int[Tensor, 'batch time'] | Sequence[int] | Sequence[Sequence[int]] | None"
ReturnType: TypeAlias = Literal["logits", "loss", "both"] | None
Hooks: TypeAlias = "Iterable[tuple[NamesFilter, HookFunction]]"

_hooked: weakref.WeakSet[nn.Module] = weakref.WeakSet()


class HookedModel(nn.Module):
    """A decoder with hook points; `workbench.load` makes one.

    The module keeps its weights, its module tree and, while nobody listens, its own forward pass; the token mixers
    compute through the canonical forms. The words are TransformerLens' where it has a word.

    Attributes:
        wrapped: the stock module (hooked as long as this object is in use; see `unwrap`).
        layout: where the parts are.
        points: every hook point by name, aliases included.
    """

    def __init__(self, module: nn.Module, tokenizer: Any = None, model_name: str | None = None) -> None:
        """Wrap a module in place. It is switched to evaluation mode; `workbench.load` also checks it.

        Raises:
            UnsupportedFamilyError: no adapter serves its mixers.
            LoadError: it is hooked already, it is no language model, or its parameters lie on several devices that
                nobody moves tensors between, or mix float64 with other dtypes.
        """
        super().__init__()
        if module in _hooked:
            raise LoadError(
                f"This {type(module).__name__} is hooked already; use its HookedModel or unwrap that first."
            )
        check_placement(module)
        module.eval()
        self.wrapped = module
        self._call = StockCall(module)
        with leaving_no_trace(module):
            self.layout = find_layout(module, self._call)
        self._cfg = describe(module, self.layout, model_name or type(module).__name__)
        self.tokens = Tokens(tokenizer, self.cfg.d_vocab, self.cfg.n_ctx, self.cfg.model_name)
        self._instrument = Instrument(module, self.layout)
        self.points: HookPoints = self._instrument.points
        _hooked.add(module)

    def __repr__(self) -> str:
        cfg = self.cfg
        heads = cfg.n_heads if isinstance(cfg.n_heads, list) else [cfg.n_heads]
        several = f"{min(heads)} to {max(heads)}" if len(heads) > 1 else str(heads[0])
        return (
            f"HookedModel({cfg.model_name}: {cfg.family}, {cfg.n_layers} layers, {several} heads, "
            f"d_model {cfg.d_model}, {str(cfg.dtype).removeprefix('torch.')}, {cfg.device})"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> HookedModel:
        """Refused: the hook points are functions that hold this very module's parts.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"{self.cfg.model_name} cannot be copied while it is hooked; load it a second time, "
            "or copy the module that unwrap() returns."
        )

    @property
    def cfg(self) -> ModelConfig:
        """Sizes and names; dtype and device are those of the weights as they are now."""
        weight = self.layout.embed.weight
        if (weight.dtype, weight.device) != (self._cfg.dtype, self._cfg.device):
            self._cfg = replace(self._cfg, dtype=weight.dtype, device=weight.device)
        return self._cfg

    @property
    def adapters(self) -> list[MixerAdapter]:
        """The first mixer of each layer, in order; one without heads where a layer has none (`mixer` finds others)."""
        return self.layout.adapters

    @property
    def hook_names(self) -> list[str]:
        """Canonical names of all hook points, in the order of the forward pass."""
        return list(self.points)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, or None."""
        return self.tokens.tokenizer

    @property
    def pad_id(self) -> int:
        """The token that fills short rows."""
        return self.tokens.pad_id

    def unwrap(self) -> nn.Module:
        """Take everything out again and return the stock module; this object is of no use afterwards."""
        self._instrument.remove()
        _hooked.discard(self.wrapped)
        return self.wrapped

    # Text and tokens.

    def to_tokens(
        self,
        text: str | Sequence[str],
        prepend_bos: bool | None = None,
        padding_side: Literal["left", "right"] = "left",
    ) -> Int[Tensor, "batch time"]:
        """Token ids of one text or several, padded; `tokenize_batch` also gives the mask."""
        return self.tokenize_batch(text, prepend_bos, padding_side)[0]

    def tokenize_batch(
        self,
        text: str | Sequence[str],
        prepend_bos: bool | None = None,
        padding_side: Literal["left", "right"] = "left",
    ) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
        """Token ids and mask (1 at tokens, 0 at padding). See `Tokens.encode` for `prepend_bos` and the errors."""
        tokens, mask = self.tokens.encode(text, prepend_bos, padding_side)
        return tokens.to(self.cfg.device), mask.to(self.cfg.device)

    def to_string(self, tokens: Tensor | Sequence[int]) -> str | list[str]:
        """Text of one row of tokens, or of each row of a batch."""
        return self.tokens.decode(tokens)

    def to_str_tokens(self, text: str | Int[Tensor, "*one time"], prepend_bos: bool | None = None) -> list[str]:
        """Each token of one text (or of one row of tokens) as text of its own."""
        tokens = self.to_tokens(text, prepend_bos) if isinstance(text, str) else torch.as_tensor(text)
        if tokens.dim() == 2 and len(tokens) != 1:
            raise InputError(f"to_str_tokens takes one row of tokens; these are {len(tokens)}.")
        return self.tokens.pieces(tokens.reshape(-1))

    # Running.

    def forward(
        self,
        input: ModelInput,
        attention_mask: Mask = None,
        return_type: ReturnType = "logits",
        loss_per_token: bool = False,
        prepend_bos: bool | None = None,
        stop_at_layer: int | None = None,
    ) -> Any:
        """Run the model on text or tokens.

        Args:
            input: one text, several texts (padded on the left), token ids ``[T]`` or ``[B,T]``.
            attention_mask: 1 at tokens, 0 at padding; positions count real tokens only, as in generation.
            return_type: ``"logits"`` [B,T,V], ``"loss"`` (next-token cross-entropy in nats, averaged over real
                tokens), ``"both"``, or None.
            loss_per_token: give the loss as [B,T-1], 0 where either token is padding.
            stop_at_layer: run only the blocks before this one and return the residual stream [B,T,D] there.

        Raises:
            InputError: no such `return_type`; see `Tokens.checked` and `Tokens.encode` for the rest.
        """
        check_choice("return_type", return_type, ("logits", "loss", "both", None))
        tokens, mask = self.prepared(input, attention_mask, prepend_bos)
        logits, residual = self._run(tokens, mask, stop_at_layer)
        if residual is not None:
            return residual
        if return_type in ("loss", "both"):
            loss = next_token_loss(logits, tokens, mask, loss_per_token)
            return loss if return_type == "loss" else (logits, loss)
        return logits if return_type == "logits" else None

    def step(
        self,
        tokens: Int[Tensor, "batch time"],
        attention_mask: Int[Tensor, "batch source"] | None,
        position_ids: Int[Tensor, "batch time"] | None,
        cache: Any,
        use_cache: bool,
    ) -> StockOutput:
        """One call of the wrapped module on top of its cache, hooks included; `generate` is a loop of these."""
        if attention_mask is not None and bool(attention_mask.all()):
            attention_mask = position_ids = None
        output = self._call(
            tokens, attention_mask, position_ids, cache, use_cache and self._call.cache_name is not None
        )
        return replace(output, logits=self._instrument.logits(output.logits))

    @contextmanager
    def hooks(self, fwd_hooks: Hooks = (), bwd_hooks: Hooks = ()) -> Iterator[HookedModel]:
        """Attach hooks for the duration of a ``with`` block.

        Raises:
            HookNameError: at once, when a name matches nothing.
            HookNeverFiredError: at the end of the block, when a hook never fired.
        """
        with self.points.attached(fwd_hooks, bwd_hooks):
            yield self

    def run_with_hooks(
        self,
        input: ModelInput,
        *,
        fwd_hooks: Hooks = (),
        bwd_hooks: Hooks = (),
        reset_hooks_end: bool = True,
        clear_contexts: bool = False,
        **kwargs: Any,
    ) -> Any:
        """`forward` with hooks: ``(name or filter, fn)`` pairs, ``fn(tensor, hook)`` returning a tensor or None.

        Backward hooks ``fn(grad, hook)`` fire when the caller calls ``backward`` on something made of the result.

        Args:
            reset_hooks_end: TransformerLens' word; the hooks always go at the end, so only True is taken.
            clear_contexts: TransformerLens' word; there are no contexts to clear, so either is taken.

        Raises:
            InputError: the hooks are to stay.
        """
        if not reset_hooks_end:
            raise InputError("Hooks do not outlast a run, so reset_hooks_end=False is not taken; use model.hooks(...).")
        with self.points.attached(fwd_hooks, bwd_hooks):
            return self(input, **kwargs)

    def run_with_cache(
        self,
        input: ModelInput,
        names_filter: NamesFilter = None,
        attention_mask: Mask = None,
        return_type: ReturnType = "logits",
        stop_at_layer: int | None = None,
        device: torch.device | str | None = None,
        remove_batch_dim: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, ActivationCache]:
        """`forward`, and what the hook points showed.

        Args:
            names_filter: which points (see `HookPoints.select`); None means all that are not built on request.
            device: where the recorded tensors go; None leaves them where they are.
            remove_batch_dim: record one sequence without its batch axis.

        Raises:
            InputError: the batch axis is to go and there are several sequences.
            HookNameError: the filter matches nothing.
            HookNeverFiredError: a point that was asked for was not reached.
        """
        recorder = Recorder(device)
        must_fire = names_filter is not None or stop_at_layer is None
        with self.points.protected(), self.points.attached([(names_filter, recorder)], must_fire=must_fire):
            result = self(
                input, attention_mask=attention_mask, return_type=return_type, stop_at_layer=stop_at_layer, **kwargs
            )
        cache = recorder.cache(self.points, self.cfg.n_layers)
        return result, cache.remove_batch_dim() if remove_batch_dim else cache

    def generate(
        self,
        input: ModelInput,
        max_new_tokens: int = 20,
        attention_mask: Mask = None,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop_at_eos: bool = True,
        seed: int | None = None,
        prepend_bos: bool | None = None,
        use_cache: bool = True,
        return_type: Literal["input", "tokens", "str"] = "input",
        state: ModelState | None = None,
    ) -> Any:
        """Continue a prompt or a left-padded batch of prompts; hooks fire at every step.

        Args:
            temperature: 0 takes the likeliest token; above 0 samples.
            top_k, top_p: restrict sampling to the k likeliest tokens, or to the likeliest ones whose probabilities
                add up to p (Holtzman et al. 2020, arXiv:1904.09751).
            stop_at_eos: end a row at the tokenizer's end-of-text token.
            seed: of the sampling; None uses torch's global generator.
            use_cache: keep keys and values or states between steps; without it every step runs the whole text, so a
                hook sees all positions each time.
            state: what the model remembers of an earlier text, which the prompt goes on from (see `prefill`).
            return_type: ``"tokens"`` [B, prompt + new], ``"str"`` (the whole text), or ``"input"``: as the input was.

        Raises:
            InputError: as `forward`; padding on the right; an option out of range.
        """
        check_choice("return_type", return_type, ("input", "tokens", "str"))
        tokens, mask = self.prepared(input, attention_mask, prepend_bos, new=max_new_tokens)
        stop = self.tokens.eos_ids if stop_at_eos else set()
        use_cache = use_cache and self._call.cache_name is not None
        out = generate(self, tokens, mask, max_new_tokens, temperature, top_k, top_p, stop, seed, use_cache, state)
        is_text = isinstance(input, str) or (isinstance(input, Sequence) and isinstance(input[0], str))
        if return_type == "tokens" or (return_type == "input" and not is_text):
            return out
        texts = self.tokens.texts(out, mask)
        return texts[0] if isinstance(input, str) else texts

    def prefill(self, input: ModelInput, attention_mask: Mask = None, state: ModelState | None = None) -> ModelState:
        """Read a text and keep what the model remembers of it; with `state`, as the continuation of another text.

        Hooks fire. The result goes into `generate` or another `prefill`, as often as one likes; it can be changed
        (`ModelState.with_recurrent`), saved (`ModelState.save`) and loaded (`load_state`).

        Raises:
            InputError: another batch size than the state's, padding in a continuation, or a model without a cache.
        """
        from workbench.states import prefill

        tokens, mask = self.prepared(input, attention_mask, prepend_bos=None if state is None else False)
        return prefill(self, tokens, mask, state)

    def load_state(self, path: Path | str) -> ModelState:
        """Read a state that `ModelState.save` wrote from this model. Raises LoadError for anything else."""
        from workbench.states import load_state

        return load_state(self, path)

    def recurrent_states(
        self, input: ModelInput, layer: int, at: Sequence[int] | None = None, attention_mask: Mask = None
    ) -> Float[Tensor, "batch steps heads key value"]:
        """One layer's recurrent state after each of the listed tokens (all).

        Raises:
            InputError: no such layer or position, or a layer without a recurrent state.
        """
        name = f"blocks.{self.layer_index(layer)}.mixer.hook_state"
        if name not in self.points:
            raise InputError(f"Layer {layer} of {self.cfg.model_name} keeps no recurrent state.")
        tokens, mask = self.prepared(input, attention_mask)
        time = tokens.shape[1]
        steps = list(range(time)) if at is None else [int(step) for step in at]
        if not steps or not all(-time <= step < time for step in steps):
            raise InputError(f"Positions go from 0 to {time - 1}, and at least one is needed; got {steps}.")
        kept: dict[int, Tensor] = {}
        wanted = {step % time for step in steps}

        def keep(state: Tensor, hook: HookPoint) -> None:
            if hook.step in wanted:
                kept[hook.step] = state.detach().clone()

        with torch.no_grad(), self.points[name].listening(keep):
            self._run(tokens, mask, min(self.layer_index(layer) + 1, self.cfg.n_layers))
        return torch.stack([kept[step % time] for step in steps], dim=1)

    @contextmanager
    def knocked_out(self, *knockouts: Knockout) -> Iterator[HookedModel]:
        """Cut edges between tokens for the duration of a ``with`` block: forward passes and generation alike.

        A generation has to begin inside the block, since a state mixes sources that nobody kept apart before.

        Raises:
            InputError: no such layer or head, or only layers without a mixer; at the end, when an edge never occurred
                (positions out of range).
        """
        added: list[tuple[Knockout, MixerAdapter, Cut]] = []
        for knockout in knockouts:
            if not hasattr(knockout, "cuts"):
                raise InputError(f"knocked_out takes Knockouts, one after the other, not {knockout!r}.")
            listed = knockout.listed("layers")
            layers = range(self.cfg.n_layers) if listed is None else map(self.layer_index, listed)
            adapters = [placed.adapter for layer in layers for placed in self.layout.blocks[layer].mixers]
            if not adapters:
                raise InputError(f"{knockout} cuts nothing: those layers of {self.cfg.model_name} have no token mixer.")
            added.extend((knockout, adapter, cut) for adapter in adapters for cut in knockout.cuts())
        for _, adapter, cut in added:
            cut.of_heads(adapter.n_heads, torch.device("cpu"))
        try:
            for _, adapter, cut in added:
                adapter.cuts.append(cut)
            yield self
        finally:
            for _, adapter, cut in added:
                adapter.cuts = [other for other in adapter.cuts if other is not cut]
        idle = next((knockout for knockout, _, cut in added if not cut.met), None)
        if idle is not None:
            raise InputError(f"{idle} cut nothing: the tokens that ran hold no such edge.")

    # Implicit attention.

    def implicit_attention(
        self,
        input: ModelInput,
        layer: int,
        scope: Literal["core", "mixer"] = "core",
        attention_mask: Mask = None,
        mixer: int = 0,
    ) -> ImplicitAttention:
        """How one layer's tokens read each other on this input; the model runs only up to that layer.

        Args:
            mixer: which of the layer's mixers, where it has several (Falcon-H1's attention beside its Mamba-2 is 1).

        Raises:
            InputError: no such layer, or no such mixer in it.
        """
        from workbench.attention import ImplicitAttention

        form = self.mixer_form(input, layer, attention_mask, mixer)
        return ImplicitAttention(form, scope=scope, layer=self.layer_index(layer))

    def mixer_form(self, input: ModelInput, layer: int, attention_mask: Mask = None, mixer: int = 0) -> MixerForm:
        """What one layer's mixer did to this input; the model runs only up to that layer."""
        adapter = self.mixer(layer, mixer)
        recorded: list[MixerForm] = []

        def record(form: MixerForm) -> None:
            recorded.append(form)
            raise Stopped

        tokens, mask = self.prepared(input, attention_mask)
        with adapter.recorded_by(record):
            self._run(tokens, mask, None)
        return recorded[0]

    def implicit_attentions(
        self,
        input: ModelInput,
        layers: Iterable[int] | None = None,
        scope: Literal["core", "mixer"] = "core",
        attention_mask: Mask = None,
        mixer: int = 0,
    ) -> Iterator[tuple[int, ImplicitAttention]]:
        """Yield ``(layer, implicit attention)`` one layer at a time, from one forward pass.

        None for `layers` means every layer with such a mixer: the first by default, the second with ``mixer=1``. The
        pass waits while the caller works on a layer, and only that layer's tensors are held.
        """
        from workbench.attention import ImplicitAttention
        from workbench.pausing import paused

        if layers is None:
            wanted = [layer for layer, block in enumerate(self.layout.blocks) if len(block.mixers) > mixer]
        else:
            wanted = sorted({self.layer_index(layer) for layer in layers})
        tokens, mask = self.prepared(input, attention_mask)

        def forward(emit: Any) -> None:
            with ExitStack() as stack:
                for layer in wanted:

                    def record(form: MixerForm, layer: int = layer) -> None:
                        if emit((layer, form)) and layer == wanted[-1]:
                            raise Stopped

                    stack.enter_context(self.mixer(layer, mixer).recorded_by(record))
                self._run(tokens, mask, None)

        with paused(forward) as forms:
            for layer, form in forms:
                yield layer, ImplicitAttention(form, scope=scope, layer=layer)

    def attribute(
        self, input: ModelInput, target: Target = None, *, position: int = -1, attention_mask: Mask = None
    ) -> Attribution:
        """What each source token put into a logit, exactly, through all paths of mixers and skips.

        Gates, attention patterns and norm scales are held at the values of this run, which makes the residual stream
        linear in the embeddings; MLPs are held fixed too, as sources of their own. The parts add up to the logit;
        `Attribution.check` says how exactly. `rollout` and `gradient_weighted` in `workbench.attribution` are the
        field's approximations, to compare with.

        Args:
            target: a token (id or text), a pair whose logits are subtracted, one token a row, weights over the
                vocabulary, or None for the likeliest token. The logit is taken before a soft cap.
            position: whose logits are explained, as an index.

        Raises:
            InputError: no such token or position.
        """
        from workbench.attribution import attribute

        tokens, mask = self.prepared(input, attention_mask)
        return attribute(self, tokens, mask, target, _whole("position", position))

    def nnsight(self, remote: bool | str = False, **kwargs: Any) -> Any:
        """An nnsight model over the same weights, whose traces reach every hook point and every module.

        Called as this model is: ``with m.trace(tokens): z = m.points["blocks.0.mixer.hook_z"].output.save()``; assign
        to an ``output``, or change it in place, and the model goes on with that. Aliases work in the brackets; the
        stock modules are under ``m.wrapped``. Points fire in the order of the forward pass, as nnsight wants them read.

        Args:
            remote: True (or a host) for traces on a cluster that holds the model under its hub id: `nnsight`'s own
                model of that id, with that ``remote=`` passed on, and without hook points, which the cluster does not
                have. For a model that only a cluster holds: `workbench.interop.nnsight.remote_model`.
            kwargs: for `nnsight.NNsight` (remote: for its TransformersModel).

        Raises:
            InputError: `remote` for a model without a hub id.
        """
        from workbench.interop import nnsight

        if remote:
            return nnsight.remote_model(str(getattr(self.wrapped, "name_or_path", "")), remote, **kwargs)
        return nnsight.traced(self, **kwargs)

    def mixer(self, layer: int, index: int = 0) -> MixerAdapter:
        """One of a layer's mixers, the first by default. Raises InputError for one that the layer does not have."""
        block = self.layout.blocks[self.layer_index(layer)]
        count, index = len(block.mixers), _whole("mixer", index)
        if count == 0 and index == 0:
            return block.adapter
        if not 0 <= index < count:
            raise InputError(
                f"Mixer {index} is out of range: layer {block.layer} of {self.cfg.model_name} has {count} "
                f"({block.family})."
            )
        return block.mixers[index].adapter

    def layer_index(self, layer: int) -> int:
        """A layer number from 0 on; negative numbers count from the end. Raises InputError when out of range."""
        layer = _whole("layer", layer)
        if not -self.cfg.n_layers <= layer < self.cfg.n_layers:
            raise InputError(
                f"Layer {layer} is out of range: {self.cfg.model_name} has layers 0 to {self.cfg.n_layers - 1}."
            )
        return layer % self.cfg.n_layers

    def head_index(self, layer: int, head: int) -> int:
        """A head number from 0 on; negative numbers count from the end. Raises InputError when out of range."""
        heads = self.adapters[self.layer_index(layer)].n_heads
        head = _whole("head", head)
        if not -heads <= head < heads:
            raise InputError(f"Head {head} is out of range: layer {layer} has heads 0 to {heads - 1}.")
        return head % heads

    # Inside.

    def _run(self, tokens: Tensor, mask: Tensor | None, stop_at_layer: int | None) -> tuple[Tensor, Tensor | None]:
        """Logits, or the residual stream where the run was stopped (logits are then empty)."""
        with stopping([block.block for block in self.layout.blocks], stop_at_layer):
            try:
                position_ids = None if mask is None else positions(mask)
                return self.step(tokens, mask, position_ids, None, False).logits, None
            except Stopped as stopped:
                return tokens.new_empty(0), stopped.residual

    def prepared(
        self, input: ModelInput, attention_mask: Any, prepend_bos: bool | None = None, new: int = 0
    ) -> tuple[Tensor, Tensor | None]:
        """Checked tokens and mask on the model's device; a mask of ones is dropped."""
        if self.wrapped not in _hooked:
            raise InputError(f"{self.cfg.model_name} was unwrapped; load or wrap it again to run it with hooks.")
        if isinstance(input, str) or (isinstance(input, Sequence) and all(isinstance(one, str) for one in input)):
            if attention_mask is not None:
                raise InputError("An attention mask goes with tokens; texts get theirs from the tokenizer.")
            tokens, attention_mask = self.tokens.encode(input, prepend_bos)  # type: ignore[arg-type]
        else:
            tokens = as_integers("Tokens", input)
        if tokens.dim() == 1:
            tokens = tokens[None]
        if attention_mask is not None:
            attention_mask = as_integers("An attention mask", attention_mask)
        if attention_mask is not None and attention_mask.dim() == 1:
            attention_mask = attention_mask[None]
        self.tokens.checked(tokens, attention_mask, new)
        tokens = tokens.to(self.cfg.device)
        if attention_mask is None or bool(attention_mask.all()):
            return tokens, None
        return tokens, attention_mask.to(self.cfg.device).long()


def _whole(what: str, number: object) -> int:
    try:
        return operator.index(number)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"{number!r} is no {what} number; {what}s are counted with whole numbers from 0.") from None
