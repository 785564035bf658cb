"""Softmax attention: every decoder that goes through transformers' attention registry, and the zoo's own.

transformers hands query, key and value (after any rotary embedding and key-value cache), a mask, the scale, a soft
cap and sinks to a function looked up by name in a registry. One function registered there serves GPT-2, Llama,
GPT-NeoX, Gemma, Qwen, OPT and their relatives alike; it finds the adapter of the calling module in a table, so several
models live side by side, and a module without one computes what it always did.

While nobody asks for a pattern or a record, attention runs in torch's fused kernel and no matrix is built.
"""

from __future__ import annotations

import inspect
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench import kernels, mixing
from workbench.families.base import MixerAdapter, register
from workbench.families.calling import running_layer
from workbench.forms import MixerForm, Softmax

IMPLEMENTATION = "workbench"

# Several for a module that several blocks share.
_adapters: weakref.WeakKeyDictionary[nn.Module, list[SoftmaxAdapter]] = weakref.WeakKeyDictionary()


class SoftmaxAdapter(MixerAdapter):
    """What every softmax attention has in common, from q, k and v on.

    Hook points: ``hook_q [B,T,H,K]``, ``hook_k [B,S,G,K]`` and ``hook_v [B,S,G,V]`` after rotary embedding, with
    grouped key-value heads kept as groups; S is T, except while generating with a cache, where it counts the cached
    tokens too (an edit counts in the call under way and is not kept in the cache). ``hook_pattern [B,H,T,S]`` on
    request: an edited pattern is the one applied. ``hook_z [B,T,H,V]``.
    """

    recurrent: ClassVar[bool] = False
    mixer_classes: ClassVar[tuple[str, ...]] = ()

    def declare_points(self) -> Iterable[tuple[str, tuple[str, ...], bool]]:
        yield "hook_q", ("batch", "time", "head", "key"), False
        yield "hook_k", ("batch", "source", "group", "key"), False
        yield "hook_v", ("batch", "source", "group", "value"), False
        yield "hook_pattern", ("batch", "head", "time", "source"), True
        yield "hook_z", ("batch", "time", "head", "value"), False

    def __init__(self, module: nn.Module, layer: int) -> None:
        super().__init__(module, layer)
        self._q, self._k, self._v, self._pattern, self._z = (
            self.points[f"hook_{name}"] for name in ("q", "k", "v", "pattern", "z")
        )

    def attend(
        self,
        q: Float[Tensor, "batch heads time key"],
        k: Float[Tensor, "batch groups source key"],
        v: Float[Tensor, "batch groups source value"],
        mask: Tensor | None,
        scale: float,
        fused: Callable[[Tensor, Tensor, Tensor], Tensor] | None,
        softcap: float | None = None,
        sinks: Float[Tensor, " heads"] | None = None,
        bias: Tensor | None = None,
    ) -> Float[Tensor, "batch time heads value"]:
        """Attention with hooks; `fused` computes ``[B,T,H,V]`` where that is possible without a matrix.

        `mask` is boolean (True may be seen) or added to the scores; None is causal.
        """
        if self._q.active:
            q = self._q(q.transpose(1, 2)).transpose(1, 2)
        if self._k.active:
            k = self._k(k.transpose(1, 2).clone()).transpose(1, 2)  # a cache owns k and v: an edit must not stay in it
        if self._v.active:
            v = self._v(v.transpose(1, 2).clone()).transpose(1, 2)
        q, k = mixing.fixed(q), mixing.fixed(k)
        if fused is not None and not (self._pattern.active or self.recording or self.cuts):
            return self._z(fused(q, k, v))
        form = softmax_form(q, k, v, mask, scale, softcap, sinks, bias)
        if self._pattern.active or self.cuts:
            pattern = self._cut_pattern(form)
            z = kernels.apply_pattern(self._pattern(pattern) if self._pattern.active else pattern, form.v)
        elif fused is not None:
            # What the model computes when nobody records: `check` then compares our entries with somebody else's code.
            z = fused(q, k, v)
        else:
            z, _ = kernels.forward(form)
        z = self._z(z.to(v.dtype))
        if self.recording:
            self.record(MixerForm(core=form, z=z, outputs=z))
        return z

    def _cut_pattern(self, form: Softmax) -> Float[Tensor, "batch heads time source"]:
        """The pattern without the edges that are knocked out."""
        device, causal = form.v.device, torch.arange(form.source, device=form.v.device)
        mask = form.mask
        if mask is None:
            mask = (causal <= causal[form.source - form.time :, None])[None, None]
        kept = torch.ones(1, form.heads, form.time, form.source, dtype=torch.bool, device=device)
        for cut in self.cuts:
            gone = cut.matrix(form.time, form.source, device) & cut.of_heads(form.heads, device)[:, None, None]
            if cut.meaning == "write":
                mask = mask & ~gone
            else:
                kept = kept & ~gone
        return kernels.pattern(replace(form, mask=mask)) * kept


def softmax_form(
    q: Float[Tensor, "batch heads time key"],
    k: Float[Tensor, "batch groups source key"],
    v: Float[Tensor, "batch groups source value"],
    mask: Tensor | None,
    scale: float,
    softcap: float | None = None,
    sinks: Float[Tensor, " heads"] | None = None,
    bias: Tensor | None = None,
) -> Softmax:
    """The canonical form of one attention call, from tensors laid out heads first.

    A mask of numbers holds either -inf-like entries (not to be seen) or a bias such as ALiBi's, or both; it is split.
    """
    time, source = q.shape[2], k.shape[2]
    if mask is not None and mask.dtype != torch.bool:
        seen = mask > torch.finfo(mask.dtype).min / 2
        extra = mask.masked_fill(~seen, 0.0)
        bias = extra if bias is None else bias + extra
        mask = seen
    if mask is not None and mask.shape[-1] > source:
        mask = mask[..., :source]
    if mask is not None and mask.shape[-2] != time:
        mask = mask.expand(*mask.shape[:-2], time, source)
    return Softmax(
        q=q.transpose(1, 2),
        k=k.transpose(1, 2),
        v=v.transpose(1, 2),
        scale=scale,
        mask=mask,
        bias=bias,
        softcap=softcap,
        sinks=sinks,
    )


@register
class RegistryAttention(SoftmaxAdapter):
    """Attention modules of transformers that look their attention function up in ``ALL_ATTENTION_FUNCTIONS``."""

    family: str = "softmax"

    @classmethod
    def recognises(cls, module: nn.Module) -> bool:
        """Whether the module's forward names transformers' attention registry."""
        code = getattr(inspect.unwrap(type(module).forward), "__code__", None)
        return code is not None and "ALL_ATTENTION_FUNCTIONS" in code.co_names

    @property
    def n_heads(self) -> int:
        """Query heads."""
        module: Any = self.module
        for owner, name in ((module, "num_heads"), (module.config, "num_attention_heads")):
            if isinstance(getattr(owner, name, None), int):
                return int(getattr(owner, name))
        raise AttributeError(f"{type(module).__name__} does not say how many heads it has")

    @property
    def d_value(self) -> int:
        """Value channels a head."""
        module: Any = self.module
        for name in ("v_head_dim", "head_dim", "head_size"):
            if isinstance(getattr(module, name, None), int):
                return int(getattr(module, name))
        return int(module.config.hidden_size) // self.n_heads

    def install(self) -> Callable[[], None]:
        """Route the module through this adapter. The model's config has to name `IMPLEMENTATION` (see instrument)."""
        register_implementation()
        _adapters.setdefault(self.module, []).append(self)

        def undo() -> None:
            _adapters[self.module].remove(self)

        return undo


class SeamAdapter(SoftmaxAdapter):
    """Attention written here, whose method ``attend(q, k, v, mask, other)`` is made to be replaced."""

    @property
    def n_heads(self) -> int:
        """Query heads."""
        return int(self.module.n_heads)  # type: ignore[arg-type]

    @property
    def d_value(self) -> int:
        """Value channels a head."""
        return int(self.module.head_dim)  # type: ignore[arg-type]

    @abstractmethod
    def around(
        self,
        q: Float[Tensor, "batch heads time key"],
        k: Float[Tensor, "batch groups source key"],
        v: Float[Tensor, "batch groups source value"],
        mask: Tensor | None,
        other: Any,
        fused: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> Float[Tensor, "batch time heads value"]:
        """`attend` with hooks, told what else the module's own takes; `fused` calls that one."""

    def install(self) -> Callable[[], None]:
        """Replace the module's ``attend`` with one that fires hooks around it."""
        module: Any = self.module
        stock = type(module).attend

        def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, other: Any) -> Tensor:
            def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                out: Tensor = stock(module, q, k, v, mask, other)
                return out.transpose(1, 2)

            return self.around(q, k, v, mask, other, fused).transpose(1, 2)

        module.attend = attend

        def undo() -> None:
            del module.attend

        return undo


@register
class ZooAttention(SeamAdapter):
    """The zoo's attention, whose ``attend`` is told the scale."""

    family: str = "softmax"

    @classmethod
    def recognises(cls, module: nn.Module) -> bool:
        """The zoo's class, told apart from other modules called Attention by its seam."""
        return type(module).__module__.startswith("workbench.zoo.") and hasattr(module, "attend")

    def around(
        self,
        q: Float[Tensor, "batch heads time key"],
        k: Float[Tensor, "batch groups source key"],
        v: Float[Tensor, "batch groups source value"],
        mask: Tensor | None,
        other: Any,
        fused: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> Float[Tensor, "batch time heads value"]:
        return self.attend(q, k, v, mask, other, fused)


def register_implementation() -> None:
    """Make `IMPLEMENTATION` known to transformers' attention and mask registries; harmless when repeated."""
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(IMPLEMENTATION, registry_attention)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)


def _adapter_of(module: nn.Module) -> SoftmaxAdapter | None:
    adapters = _adapters.get(module, [])
    if len(adapters) < 2:
        return adapters[0] if adapters else None
    layer = running_layer()
    return next(adapter for adapter in adapters if adapter.layer == layer)


def registry_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The function in transformers' registry: tensors come as ``[B,H,T,K]``, the result is ``[B,T,H,V]``."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Tensor = sdpa_attention_forward(
            module,
            q,
            k,
            v,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            position_bias=position_bias,
            **kwargs,
        )[0]
        return out

    plain = softcap is None and s_aux is None
    adapter = _adapter_of(module)
    if adapter is None and plain:
        return fused(query, key, value), None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    time, source = query.shape[2], key.shape[2]
    if attention_mask is None:
        causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        if not causal:
            attention_mask = torch.ones(1, 1, time, source, dtype=torch.bool, device=query.device)
        elif 1 < time < source:  # a preallocated cache: what lies beyond the queries is not written yet
            key, value = key[:, :, :time], value[:, :, :time]
    if adapter is None:
        form = softmax_form(query, key, value, attention_mask, scale, softcap, s_aux, position_bias)
        return kernels.forward(form)[0].to(value.dtype), None
    return (
        adapter.attend(
            query,
            key,
            value,
            attention_mask,
            scale,
            fused if plain else None,
            softcap=softcap,
            sinks=s_aux,
            bias=position_bias,
        ),
        None,
    )
