"""HookedModel: a language model whose every intermediate tensor can be read and changed by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.families.base import MixerAdapter
from workbench.forms import MixerForm
from workbench.hooks import HookPoint
from workbench.running import RunnableModel
from workbench.steps import at_steps
from workbench.stopping import Stopped
from workbench.wrapping import Mask, ModelInput, whole_number

if TYPE_CHECKING:
    from workbench.attention import AttentionStatistics, ImplicitAttention
    from workbench.attribution import Attribution, Target
    from workbench.direct_logits import LogitParts
    from workbench.knockout import Cut, Knockout


class HookedModel(RunnableModel):
    """A decoder with hook points; `workbench.load` makes one.

    The module keeps its weights, its module tree and, while nobody listens, its own forward pass; the token mixers
    compute through the canonical forms. The words are TransformerLens' where it has a word. Here is what one asks of a
    model: who reads whom, what a state holds, what happens without an edge, where a logit comes from. How it runs is in
    `RunnableModel`, what it is made of in `WrappedModel`.

    Attributes:
        wrapped: the stock module (hooked as long as this object is in use; see `unwrap`).
        layout: where the parts are.
        points: every hook point by name, aliases included.
    """

    def recurrent_states(
        self,
        input: ModelInput,
        layer: int,
        positions: Sequence[int] | None = None,
        attention_mask: Mask = None,
        mixer: int = 0,
    ) -> Float[Tensor, "batch steps heads key value"]:
        """One layer's recurrent state after each of the listed tokens (all); `mixer` as in `implicit_attention`.

        What lies between the listed tokens runs at full speed.

        Raises:
            InputError: no such layer, mixer or position, or a mixer without a recurrent state.
        """
        adapter = self.mixer(layer, mixer)
        if "hook_state" not in adapter.points:
            raise InputError(f"{adapter.place.capitalize()} of {self.cfg.model_name} keeps no recurrent state.")
        tokens, mask = self.prepared(input, attention_mask)
        time = tokens.shape[1]
        steps = list(range(time)) if positions is None else [int(step) for step in positions]
        if not steps or not all(-time <= step < time for step in steps):
            raise InputError(f"Positions go from 0 to {time - 1}, and at least one is needed; got {steps}.")
        kept: dict[int, Tensor] = {}

        def keep(state: Tensor, hook: HookPoint) -> None:
            assert hook.step is not None  # of a hook that fires once a step
            kept[hook.step] = state.detach().clone()

        listener = at_steps(keep, {step % time for step in steps})
        with torch.no_grad(), adapter.points["hook_state"].listening(listener):
            self._run(tokens, mask, min(adapter.layer + 1, self.cfg.n_layers))
        return torch.stack([kept[step % time] for step in steps], dim=1)

    @contextmanager
    def knocked_out(self, *knockouts: Knockout) -> Iterator[Self]:
        """Cut edges between tokens for the duration of a ``with`` block: forward passes and generation alike.

        A generation has to begin inside the block, since a state mixes sources that nobody kept apart before.

        Raises:
            InputError: no such layer, mixer or head, or only layers without a mixer; at the end, when an edge never
                occurred (positions out of range).
        """
        added: list[tuple[Knockout, MixerAdapter, Cut]] = []
        for knockout in knockouts:
            if not hasattr(knockout, "cuts"):
                raise InputError(f"knocked_out takes Knockouts, one after the other, not {knockout!r}.")
            adapters = self.mixers_of(knockout.listed("layers"), knockout.mixer)
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
        return ImplicitAttention(form, scope, self.layer_index(layer), mixer)

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
        mixer: int | None = 0,
    ) -> Iterator[tuple[int, ImplicitAttention]]:
        """Yield ``(layer, implicit attention)`` one mixer at a time, from one forward pass.

        The pass waits while the caller works on a mixer, and only that mixer's tensors are held.

        Args:
            layers: None for every layer with such a mixer.
            mixer: the first mixer of each layer by default, the second with 1; None for every mixer there is, in the
                order in which they run. Its number is in the attribute `mixer` of what is yielded.

        Raises:
            InputError: no such layer, or no such mixer in it.
        """
        from workbench.attention import ImplicitAttention
        from workbench.pausing import paused

        wanted = self.mixers_of(layers, mixer)
        tokens, mask = self.prepared(input, attention_mask)

        def forward(emit: Any) -> None:
            awaited = set(wanted)
            with ExitStack() as stack:
                for adapter in wanted:

                    def record(form: MixerForm, adapter: MixerAdapter = adapter) -> None:
                        if emit((adapter, form)):
                            awaited.discard(adapter)
                            if not awaited:
                                raise Stopped

                    stack.enter_context(adapter.recorded_by(record))
                self._run(tokens, mask, None)

        with paused(forward) as forms:
            for adapter, form in forms:
                yield adapter.layer, ImplicitAttention(form, scope, adapter.layer, adapter.index)

    def attention_statistics(
        self,
        input: ModelInput,
        reductions: Sequence[str] = ("mass", "entropy", "mean_distance_by_mass"),
        layers: Iterable[int] | None = None,
        mixer: int | None = None,
        scope: Literal["core", "mixer"] = "core",
        top: int = 8,
        bins: Sequence[int] | None = None,
        attention_mask: Mask = None,
        per_token: bool = True,
        progress: bool = False,
    ) -> AttentionStatistics:
        """How every head of every layer reads: statistics of all attention matrices from one pass, none of them held.

        Softmax and recurrent layers alike, and comparable: all numbers are of ``|A|`` or ``A^2``. Only one mixer's
        tensors are there at a time. Pads are neither rows nor sources.

        Args:
            reductions: ``mass``, ``energy``, ``entropy`` (nats), ``mean_distance_by_mass``, ``mean_distance_by_energy``
                (tokens), ``top``, ``column_mass``, ``column_energy``, ``histogram`` (mass by distance), as defined by
                `workbench.kernels.Streamed`. ``energy`` and ``mean_distance_by_energy`` alone take time linear in the
                length; with any other the matrices are streamed, in time that grows with its square.
            layers: all by default.
            mixer: which of a layer's mixers, where it has several; all of them by default.
            scope: ``"core"``, or ``"mixer"`` for convolution, gate and skip as well, where every channel is a matrix.
            top: how many entries of a row ``top`` keeps.
            bins: increasing edges of the histogram's bins, in tokens; None for 0, 1, 2, 4, 8, ...
            per_token: keep every number at every token; False keeps averages over tokens only, which is all that fits
                where many channels read a long text.
            progress: show a progress bar when it takes longer than two seconds.

        Raises:
            InputError: an unknown reduction, a number out of range, padding that is not on the left.
        """
        from workbench.attention.statistics import attention_statistics

        tokens, mask = self.prepared(input, attention_mask)
        return attention_statistics(
            self, tokens, mask, reductions, layers, mixer, scope, top, bins, per_token, progress
        )

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
        return attribute(self, tokens, mask, target, whole_number("position", position))

    def logit_parts(
        self,
        input: ModelInput,
        answer: int | str | Int[Tensor, "*shape"],
        incorrect: int | str | Int[Tensor, "*shape"] | None = None,
        *,
        position: int | Sequence[int] = -1,
        group: int = 1,
        attention_mask: Mask = None,
    ) -> LogitParts:
        """What every head, MLP and embedding writes into an answer's logit directly, past all later layers.

        Direct logit attribution; ``model.logit_parts(text, " Paris").table()`` has a row a part. Arguments and errors
        are those of `workbench.direct_logits.logit_parts`.
        """
        from workbench.direct_logits import logit_parts

        return logit_parts(
            self, input, answer, incorrect, position=position, group=group, attention_mask=attention_mask
        )

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
