"""The tuned lens: one affine translator a depth, in the published checkpoints' layout."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.lenses.lens import Lens
from workbench.probes.lenses.unembedding import Unembedding


class TunedLens(nn.Module, Lens):
    """``h + A_l h + b_l`` read as the last residual stream (Belrose et al. 2023, arXiv:2303.08112, equation 5).

    The residual form, with A and b zero at the start, is that of the published checkpoints: an untrained lens is the
    logit lens, and weight decay pulls towards it. `workbench.probes.lenses.train_tuned_lens` trains one.

    Attributes:
        translators: one `nn.Linear` a depth from 0 to ``n_layers - 1``, in float32 at least, on the model's device.
    """

    @checked_call
    def __init__(self, model: HookedModel | Unembedding, bias: bool = True) -> None:
        """A lens that is the logit lens so far. `bias` as in the published configuration."""
        super().__init__()
        # No sub-module: the lens' parameters are its translators', and the model stays as it is.
        self.unembedding = unembedding = model if isinstance(model, Unembedding) else Unembedding(model)
        self.name = "tuned lens"
        cfg = unembedding.model.cfg
        dtype = torch.promote_types(cfg.dtype, torch.float32)
        self.translators = nn.ModuleList(
            nn.Linear(unembedding.width, unembedding.width, bias=bias, dtype=dtype, device=cfg.device)
            for _ in range(cfg.n_layers)
        )
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model.cfg.model_name}, {len(self.translators)} translators)"

    @property
    def bias(self) -> bool:
        """Whether the translators have biases."""
        return any(name.endswith("bias") for name, _ in self.named_parameters())

    def transform(
        self, residual: Float[Tensor, "*positions d_model"], depth: int
    ) -> Float[Tensor, "*positions d_model"]:
        depth = self.depth_index(depth)
        if depth == self.n_layers:
            return residual
        translator = self.translators[depth]
        assert isinstance(translator, nn.Linear)
        if residual.shape[-1] != translator.in_features:
            raise InputError(
                f"The lens reads residual streams of {translator.in_features} numbers, not {residual.shape[-1]}."
            )
        wide = residual.to(translator.weight.dtype)
        translated: Tensor = wide + translator(wide)
        return translated

    def forward(
        self, residual: Float[Tensor, "*positions d_model"], depth: int
    ) -> Float[Tensor, "*positions vocabulary"]:
        """`logits`, as a module is called."""
        return self.logits(residual, depth)
