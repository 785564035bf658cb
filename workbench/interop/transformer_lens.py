"""Models of TransformerLens 3.9: a `HookedTransformer` or a `TransformerBridge` becomes a module that can be hooked."""

from __future__ import annotations

import copy
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from workbench.errors import FidelityError, UnsupportedFamilyError

POSITIONS = ("standard", "rotary", "alibi")
# Configuration keys that change what is computed and that `LensDecoder` does not know, with the value that it assumes.
ASSUMED: dict[str, Any] = {
    "attention_dir": "causal",
    "num_experts": None,
    "clip_qkv": None,
    "load_in_4bit": False,
    "use_logn_attn": False,
    "use_dynamic_ntk_rope": False,
}
BATCH, TIME, PADDED = 2, 12, 4
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def is_model(source: object) -> TypeGuard[nn.Module]:
    """Whether this is a language model of TransformerLens, without importing the package to find out."""
    return _is(source, "HookedTransformer") or _is(source, "TransformerBridge")


def _is(source: object, name: str) -> bool:
    return any(
        cls.__name__ == name and cls.__module__.split(".")[0] == "transformer_lens" for cls in type(source).__mro__
    )


def unwrapped(source: nn.Module, check: bool = True) -> tuple[nn.Module, Any]:
    """The module to hook, over the weights of a HookedTransformer or of a bridge, and its tokenizer.

    Args:
        check: compare logits with the source's own, on a short random batch with a left-padded row.

    Raises:
        UnsupportedFamilyError: the architecture has a part that is not known here; names the configuration key.
        FidelityError: the logits differ.
    """
    module = _decoder(source) if _is(source, "HookedTransformer") else _stock(source)
    module.eval()
    if check:
        _check(source, module)
    return module, getattr(source, "tokenizer", None)


def _decoder(source: Any) -> nn.Module:
    from workbench.interop.lens_decoder import LensDecoder

    cfg = source.cfg
    if cfg.positional_embedding_type not in POSITIONS:
        raise _refused(source, "positional_embedding_type", cfg.positional_embedding_type, " or ".join(POSITIONS))
    for key, assumed in ASSUMED.items():
        if getattr(cfg, key, assumed) != assumed:
            raise _refused(source, key, getattr(cfg, key), repr(assumed))
    attention = source.blocks[0].attn
    if attention.q_norm is not None and not cfg.use_qk_norm:  # OLMo's, over all heads at once, and its post-norm blocks
        raise _refused(source, "original_architecture", cfg.original_architecture, "one with norms before its parts")
    if cfg.gated_mlp and not cfg.attn_only and getattr(source.blocks[0].mlp, "ln", None) is not None:
        raise _refused(source, "act_fn", cfg.act_fn, "an activation without a norm in a gated MLP")
    return LensDecoder(source)


def _refused(source: object, key: str, value: object, known: str) -> UnsupportedFamilyError:
    return UnsupportedFamilyError(
        f"This {type(source).__name__}'s cfg.{key} is {value!r}, which is not supported; supported: {known}."
    )


def _stock(bridge: Any) -> nn.Module:
    """The stock module inside a bridge, without the bridge's components, over the same parameters.

    A bridge wraps parts of the module's tree in components of its own. The tree is therefore copied, module by module
    and without a tensor, with what each component wraps in its place; the bridge stays as it is.

    Raises:
        UnsupportedFamilyError: the bridge has folded or centred its weights, in tensors that the stock class lacks.
    """
    if bridge._weights_processed:
        raise UnsupportedFamilyError(
            "This TransformerBridge has processed its weights (enable_compatibility_mode), which its stock class "
            "cannot hold; load a bridge without that, or a HookedTransformer, whose folded weights are supported."
        )
    return _without_components(bridge.original_model, {})


def _without_components(module: nn.Module, done: dict[int, nn.Module]) -> nn.Module:
    inside = module._modules.get("_original_component")
    if inside is not None:
        return _without_components(inside, done)
    if id(module) in done:
        return done[id(module)]
    plain = done[id(module)] = copy.copy(module)
    attributes = vars(plain)
    attributes.pop("forward", None)  # a bridge may have put another one on the instance
    for name, value in list(attributes.items()):
        if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")) and isinstance(value, dict):
            attributes[name] = type(value)()
        elif name in ("_parameters", "_buffers"):
            attributes[name] = value.copy()
    attributes["_modules"] = {
        name: None if child is None else _without_components(child, done) for name, child in module._modules.items()
    }
    return plain


def _check(source: Any, module: nn.Module) -> None:
    weight = next(source.parameters())
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, source.cfg.d_vocab, (BATCH, TIME), generator=generator).to(weight.device)
    mask = torch.ones_like(tokens)
    mask[1, :PADDED] = 0
    training = source.training
    source.eval()
    try:
        with torch.no_grad():
            theirs: Tensor = source(tokens, return_type="logits", attention_mask=mask)
            ours = module(input_ids=tokens, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0)).logits
    finally:
        source.train(training)
    real = mask.bool()
    error = float((ours - theirs)[real].abs().max() / theirs[real].abs().max().clamp(min=1e-30))
    limit = TOLERANCE.get(weight.dtype, 1e-4)
    if not error <= limit:
        raise FidelityError(
            f"The decoder over the weights of this {type(source).__name__} differs from it: relative error "
            f"{error:.1e}, allowed {limit:.0e}; hooks that are attached to it count as a difference."
        )
