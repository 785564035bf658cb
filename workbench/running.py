"""RunnableModel: forward passes with hooks and caches, generation, and memory that a text goes on from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.cache import ActivationCache, Recorder
from workbench.errors import InputError
from workbench.families.recurrent import RecurrentAdapter
from workbench.finiteness import stopping_where_not_finite
from workbench.generation import generate
from workbench.hooks import HookFunction, NamesFilter
from workbench.loss import next_token_loss
from workbench.steps import at_steps
from workbench.stock import StockOutput, positions
from workbench.stopping import Stopped, stopping
from workbench.tokens import check_choice
from workbench.wrapping import Mask, ModelInput, WrappedModel

if TYPE_CHECKING:
    from workbench.states import ModelState

ReturnType: TypeAlias = Literal["logits", "loss", "both"] | None
Hooks: TypeAlias = "Iterable[tuple[NamesFilter, HookFunction]]"


class RunnableModel(WrappedModel):
    """A wrapped model that runs: on text or tokens, watched and changed at its hook points, and token by token.

    Attributes:
        past: tokens of the text that earlier calls have read, padding included: 0 while a prompt is read, then where
            in the text the tokens at hand begin.
    """

    past: int = 0

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
        self.past = 0 if attention_mask is None else attention_mask.shape[1] - tokens.shape[1]
        for adapter in self.layout.every_adapter:
            if isinstance(adapter, RecurrentAdapter):
                adapter.seen = self.past
        if attention_mask is not None and bool(attention_mask.all()):
            attention_mask = position_ids = None
        output = self._call(
            tokens, attention_mask, position_ids, cache, use_cache and self._call.cache_name is not None
        )
        return replace(output, logits=self._instrument.logits(output.logits))

    @contextmanager
    def hooks(self, fwd_hooks: Hooks = (), bwd_hooks: Hooks = ()) -> Iterator[Self]:
        """Attach hooks for the duration of a ``with`` block.

        Raises:
            HookNameError: at once, when a name matches nothing.
            HookNeverFiredError: at the end of the block, when a hook never fired.
        """
        with self.points.attached(fwd_hooks, bwd_hooks):
            yield self

    @contextmanager
    def debug_nans(self) -> Iterator[Self]:
        """Stop any run inside a ``with`` block at the first hook point that holds NaN or an infinity (JAX's word).

        Every tensor is read once more, so this is for looking for a fault. A log decay of -inf is a reset and passes.

        Raises:
            NotFiniteError: naming the hook point, the layer, the step and the sequence.
        """
        with stopping_where_not_finite(self.points):
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

        On ``hook_state``, a function is called after every step, one step at a time; ``at_steps(fn, 300)`` is called
        at that step alone, and the rest of the run is as fast as without it.

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
        steps: int | Iterable[int] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ActivationCache]:
        """`forward`, and what the hook points showed.

        Args:
            names_filter: which points (see `HookPoints.select`); None means all that are not built on request.
            device: where the recorded tensors go; None leaves them where they are.
            remove_batch_dim: record one sequence without its batch axis.
            steps: after which tokens recurrent states (``hook_state``) are recorded, all others running at full speed;
                None means after each, one step at a time.

        Raises:
            InputError: the batch axis is to go and there are several sequences; steps of what has none.
            HookNameError: the filter matches nothing.
            HookNeverFiredError: a point that was asked for was not reached.
        """
        recorder = Recorder(device)
        must_fire = names_filter is not None or stop_at_layer is None
        hooks: list[tuple[NamesFilter, HookFunction]] = [(names_filter, recorder)]
        if steps is not None:
            names = self.points.select(names_filter)
            states = [name for name in names if self.points[name].per_step]
            if not states:
                raise InputError("steps= says which recurrent states to record, and names_filter asks for none.")
            rest = [name for name in names if name not in states]
            hooks = [(states, at_steps(recorder, steps)), *([(rest, recorder)] if rest else [])]
        with self.points.protected(), self.points.attached(hooks, must_fire=must_fire):
            result = self(
                input, attention_mask=attention_mask, return_type=return_type, stop_at_layer=stop_at_layer, **kwargs
            )
        cache = recorder.cache(self.points, self.cfg.n_layers, self)
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

    def _run(self, tokens: Tensor, mask: Tensor | None, stop_at_layer: int | None) -> tuple[Tensor, Tensor | None]:
        """Logits, or the residual stream where the run was stopped (logits are then empty)."""
        with stopping([block.block for block in self.layout.blocks], stop_at_layer):
            try:
                position_ids = None if mask is None else positions(mask)
                return self.step(tokens, mask, position_ids, None, False).logits, None
            except Stopped as stopped:
                return tokens.new_empty(0), stopped.residual
