"""What a sparse autoencoder is: its sizes, its kind, and what it was trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from workbench.errors import InputError

ACTIVATIONS = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
    "topk_transcoder": "topk",
    "topk_skip_transcoder": "topk",
}
"""Architectures by SAELens' names, and how each turns pre-activations into features. BatchTopK and Matryoshka
autoencoders are JumpReLU ones once they are trained, as SAELens saves them."""

NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")


@dataclass(frozen=True)
class SaeConfig:
    """Sizes, kind and origin of a sparse autoencoder; names are SAELens' where it has one.

    Attributes:
        architecture: a key of `ACTIVATIONS`.
        d_in, d_sae: width of what is read, and how many features there are.
        d_out: width of what is written; `d_in` but in transcoders.
        k: features a vector, of ``topk``.
        apply_b_dec_to_input: the decoder's bias is subtracted from what is read.
        rescale_acts_by_decoder_norm: features count in units of their decoder's norm, of ``topk``.
        normalize_activations: what is done to a vector before it is encoded, and undone after: one of `NORMALISATIONS`.
        hook: canonical name of the hook that is read; `hook_out` the one that is predicted, of a transcoder.
        head, every: as in `VectorSite`.
        model_name: the model it was trained on.
        details: how it was trained, and whatever else its file says, as plain values.
    """

    architecture: str
    d_in: int
    d_sae: int
    d_out: int | None = None
    k: int | None = None
    apply_b_dec_to_input: bool = False
    rescale_acts_by_decoder_norm: bool = False
    normalize_activations: str = "none"
    hook: str | None = None
    hook_out: str | None = None
    head: int | None = None
    every: int = 1
    model_name: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.architecture not in ACTIVATIONS:
            raise InputError(f"No architecture is called {self.architecture!r}; it is one of {', '.join(ACTIVATIONS)}.")
        if min(self.d_in, self.d_sae, self.width_out) < 1:
            raise InputError(f"An autoencoder of {self.d_sae} features on {self.d_in} numbers has nothing to learn.")
        if self.activation == "topk" and not 1 <= (self.k or 0) <= self.d_sae:
            raise InputError(f"k is {self.k}; a topk autoencoder of {self.d_sae} features keeps 1 to {self.d_sae}.")
        if self.normalize_activations not in NORMALISATIONS:
            raise InputError(
                f"normalize_activations is {self.normalize_activations!r}; it is one of {', '.join(NORMALISATIONS)}."
            )
        if self.transcodes and self.apply_b_dec_to_input:
            raise InputError("A transcoder's decoder bias is of another space than its input: it cannot be subtracted.")

    @property
    def activation(self) -> str:
        """``relu``, ``topk``, ``jumprelu`` or ``gated``."""
        return ACTIVATIONS[self.architecture]

    @property
    def transcodes(self) -> bool:
        """Whether it predicts another hook than it reads."""
        return "transcoder" in self.architecture

    @property
    def skips(self) -> bool:
        """Whether a linear map leads past the features."""
        return "skip" in self.architecture

    @property
    def width_out(self) -> int:
        """Width of what is written."""
        return self.d_in if self.d_out is None else self.d_out
