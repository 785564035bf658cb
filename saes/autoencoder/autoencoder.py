"""A trained sparse autoencoder: vectors to features and back, whichever architecture it was trained with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.errors import InputError, LoadError
from workbench.model import HookedModel
from workbench.saes.autoencoder.config import SaeConfig
from workbench.saes.site import VectorSite


class SparseAutoencoder(nn.Module):
    """Features of a vector, and the vector of features (Cunningham et al. 2023, arXiv:2309.08600, section 2).

    ``encode(x) = act((x - b_dec) W_enc + b_enc)`` and ``decode(f) = f W_dec + b_dec``; `cfg` says what `act` is and
    whether the bias is subtracted. Numbers are SAELens' for the same weights. It is made to be used, not trained:
    `workbench.saes.train_sae` trains one.

    Args:
        cfg: what it is.
        weights: ``W_enc`` [d_in, d_sae], ``W_dec`` [d_sae, d_out], ``b_dec`` [d_out], and by architecture ``b_enc``
            [d_sae]; ``threshold`` [d_sae]; ``b_gate``, ``b_mag``, ``r_mag`` [d_sae]; ``W_skip`` [d_out, d_in].
        basis: the subspace that `d_in` counts in, where it is not the hook's whole space; see `VectorSite`.

    Raises:
        LoadError: a weight is missing, left over, of another shape, or holds NaN.
    """

    W_enc: Float[Tensor, "d_in d_sae"]
    W_dec: Float[Tensor, "d_sae d_out"]
    b_enc: Float[Tensor, " d_sae"]
    threshold: Float[Tensor, " d_sae"]
    b_gate: Float[Tensor, " d_sae"]
    b_mag: Float[Tensor, " d_sae"]
    r_mag: Float[Tensor, " d_sae"]
    W_skip: Float[Tensor, "d_out d_in"]
    b_dec: Float[Tensor, " d_out"]

    def __init__(
        self, cfg: SaeConfig, weights: Mapping[str, Tensor], basis: Float[Tensor, "rank features"] | None = None
    ) -> None:
        super().__init__()
        self.cfg = cfg
        shapes = weight_shapes(cfg)
        for name in (*shapes, *weights):
            if name not in weights:
                raise LoadError(f"The weights of this {cfg.architecture} autoencoder lack {name}.")
            if name not in shapes:
                raise LoadError(f"A {cfg.architecture} autoencoder has no weight {name}; it has {', '.join(shapes)}.")
            if tuple(weights[name].shape) != shapes[name]:
                raise LoadError(f"{name} has shape {[*weights[name].shape]}; {[*shapes[name]]} is needed.")
            if not bool(weights[name].isfinite().all()):
                raise LoadError(f"{name} holds NaN or an infinity.")
            self.register_parameter(name, nn.Parameter(weights[name].detach(), requires_grad=False))
        self.basis = basis

    def __repr__(self) -> str:
        cfg = self.cfg
        k = "" if cfg.k is None else f", k={cfg.k}"
        return f"SparseAutoencoder({cfg.architecture}{k}, {cfg.d_in} -> {cfg.d_sae}, {cfg.model_name}, {cfg.hook})"

    def _repr_html_(self) -> str:
        """A card of what it is and how its training ended, for notebooks."""
        from workbench.report.cards import Card, render_card

        cfg = self.cfg
        facts: dict[str, object] = {
            "architecture": cfg.architecture if cfg.k is None else f"{cfg.architecture}, {cfg.k} features a vector",
            "model": cfg.model_name,
            "reads": cfg.hook,
            "writes": cfg.hook_out if cfg.transcodes else None,
            "vectors": f"{cfg.d_in:,} numbers" + ("" if self.basis is None else ", coordinates in a subspace"),
            "features": f"{cfg.d_sae:,}",
        }
        trained = cfg.details.get("trained") or {}
        names = {"vectors": "trained on", "explained_variance": "explained variance", "dead": "dead features"}
        for name, said in names.items():
            if isinstance(value := trained.get(name), int | float):
                facts[said] = value if isinstance(value, float) else f"{value:,}"
        shown = {name: value for name, value in facts.items() if value is not None}
        return render_card(Card("Sparse autoencoder", shown))

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.W_enc.dtype

    def site(self, model: HookedModel) -> VectorSite:
        """Where this autoencoder reads in a model.

        Raises:
            InputError: the model lacks the hook, or its vectors there are of another width.
        """
        return self._site(model, self.cfg.hook, self.cfg.d_in)

    def site_out(self, model: HookedModel) -> VectorSite:
        """Where what it decodes belongs: of a transcoder another place than `site`. Raises as `site` does."""
        return self._site(model, self.cfg.hook_out, self.cfg.width_out) if self.cfg.transcodes else self.site(model)

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """Feature activations, all of them at least 0; most are 0.

        Raises:
            InputError: vectors of another width.
        """
        if x.shape[-1] != self.cfg.d_in:
            raise InputError(f"The vectors have {x.shape[-1]} numbers; this autoencoder takes {self.cfg.d_in}.")
        return self.activate(self.preactivations(x))

    def preactivations(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """What the activation function is applied to (of ``gated``: what opens the gates)."""
        centred = self._normalised(x.to(self.dtype))[0]
        if self.cfg.apply_b_dec_to_input:
            centred = centred - self.b_dec
        bias = self.b_gate if self.cfg.activation == "gated" else self.b_enc
        pre = centred @ self.W_enc + bias
        return pre * self.W_dec.norm(dim=-1) if self.cfg.rescale_acts_by_decoder_norm else pre

    def activate(self, pre: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_sae"]:
        """Feature activations of `preactivations`."""
        kind = self.cfg.activation
        if kind == "topk":
            assert self.cfg.k is not None  # SaeConfig refuses a topk without it
            top = pre.topk(self.cfg.k, dim=-1)
            return torch.zeros_like(pre).scatter(-1, top.indices, top.values.relu())
        if kind == "jumprelu":
            return torch.where(pre > self.threshold, pre.relu(), torch.zeros_like(pre))
        if kind == "gated":
            # Gate and magnitude share the encoder's directions: the one's pre-activation gives the other's.
            magnitude = (pre - self.b_gate) * self.r_mag.exp() + self.b_mag
            return torch.where(pre > 0, magnitude.relu(), torch.zeros_like(pre))
        return pre.relu()

    def decode(
        self, features: Float[Tensor, "*batch d_sae"], x: Float[Tensor, "*batch d_in"] | None = None
    ) -> Float[Tensor, "*batch d_out"]:
        """The vectors that features stand for.

        Args:
            x: what was encoded: needed where its scale was taken out (``normalize_activations``) or a skip leads past
                the features.

        Raises:
            InputError: `x` is needed and missing.
        """
        if self.cfg.rescale_acts_by_decoder_norm:
            features = features / self.W_dec.norm(dim=-1)
        out = features @ self.W_dec + self.b_dec
        if x is None and (self.cfg.skips or self.cfg.normalize_activations != "none"):
            raise InputError("This autoencoder decodes with what it encoded; give it, as decode(features, x).")
        if x is not None and self.cfg.skips:
            out = out + x.to(self.dtype) @ self.W_skip.T
        if x is not None and not self.cfg.transcodes:
            _, scale, shift = self._normalised(x.to(self.dtype))
            out = out * scale + shift
        return out

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """The reconstruction of vectors, in their dtype."""
        return self.decode(self.encode(x), x).to(x.dtype)

    def directions(self) -> Float[Tensor, "d_sae d_out"]:
        """What one unit of each feature adds to the reconstruction, before a normalisation is undone."""
        rescaled = self.cfg.rescale_acts_by_decoder_norm
        return self.W_dec / self.W_dec.norm(dim=-1, keepdim=True) if rescaled else self.W_dec

    def _normalised(self, x: Tensor) -> tuple[Tensor, Tensor | float, Tensor | float]:
        """Vectors as they are encoded, and the scale and shift that take them back."""
        if self.cfg.normalize_activations == "layer_norm":
            mean = x.mean(-1, keepdim=True)
            scale = (x - mean).std(-1, keepdim=True)
            return (x - mean) / (scale + 1e-5), scale, mean  # SAELens adds its 1e-5 on the way in only
        if self.cfg.normalize_activations == "constant_norm_rescale":
            scale = x.norm(dim=-1, keepdim=True) / self.cfg.d_in**0.5
            return x / scale, scale, 0.0
        return x, 1.0, 0.0

    def _site(self, model: HookedModel, hook: str | None, width: int) -> VectorSite:
        if hook is None:
            raise InputError("This autoencoder's file does not say which hook it reads; give a VectorSite yourself.")
        site = VectorSite.of(model, hook, head=self.cfg.head, every=self.cfg.every, basis=self.basis)
        there = site.width(model)
        if there != width:
            raise InputError(
                f"This autoencoder was trained on {width} numbers at {hook} of {self.cfg.model_name}; "
                f"{model.cfg.model_name} has {there} there."
            )
        return site


def weight_shapes(cfg: SaeConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of an architecture."""
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (cfg.d_in, cfg.d_sae),
        "W_dec": (cfg.d_sae, cfg.width_out),
        "b_dec": (cfg.width_out,),
    }
    by_feature = {"gated": ("b_gate", "b_mag", "r_mag"), "jumprelu": ("b_enc", "threshold")}
    shapes |= dict.fromkeys(by_feature.get(cfg.activation, ("b_enc",)), (cfg.d_sae,))
    return shapes | ({"W_skip": (cfg.width_out, cfg.d_in)} if cfg.skips else {})
