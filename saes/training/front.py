"""What classes that go in front of SAELens' training classes find behind them, for the type checker.

SAELens takes seconds to import, and which of its classes is behind one of ours is decided when a training begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    class Front:
        """The part of SAELens' ``TrainingSAE`` that is called or replaced here."""

        cfg: Any
        dtype: torch.dtype
        device: torch.device
        W_enc: nn.Parameter
        W_dec: nn.Parameter
        b_enc: nn.Parameter
        b_dec: nn.Parameter
        d_head: int | None
        reshape_fn_in: Callable[[Tensor], Tensor]
        reshape_fn_out: Callable[[Tensor, int | None], Tensor]
        run_time_activation_norm_fn_in: Callable[[Tensor], Tensor]
        run_time_activation_norm_fn_out: Callable[[Tensor], Tensor]

        def initialize_weights(self) -> None: ...

        def encode_with_hidden_pre(self, x: Tensor) -> tuple[Tensor, Tensor]:
            raise NotImplementedError

        def decode(self, feature_acts: Tensor) -> Tensor:
            raise NotImplementedError

        def training_forward_pass(self, step_input: Any) -> Any: ...

        def update_topk_threshold(self, acts_topk: Tensor) -> None: ...

else:
    Front = object
