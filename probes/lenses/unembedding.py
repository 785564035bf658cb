"""From the residual stream to logits: everything that a model does after its last block, for any residual stream.

What comes after the last block differs (norms, biases, scales of the logits, soft caps, casts), and no table of names
is kept of it. The model's own code runs, with blocks that do nothing but hand over the tensor in question.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.stock import StockCall, leaving_no_trace

if TYPE_CHECKING:
    from workbench.model import HookedModel

# Logits that are worked on at once: 16.7 million are 67 MB in float32, and a training step holds about seven such
# tensors (targets, probabilities, logits, their gradient and what is made on the way).
LOGITS_AT_ONCE = 2**24


class Unembedding:
    """Decodes residual streams as a model decodes its last one.

    Attributes:
        model: whose final norm, unembedding, logit scale and soft cap these are.
        width: size of the residual stream after the last block.
        vocabulary: how many logits there are.
    """

    @checked_call
    def __init__(self, model: HookedModel) -> None:
        self.model = model
        self._call = StockCall(model.wrapped)
        self._blocks: list[nn.Module] = list(dict.fromkeys(block.block for block in model.layout.blocks))
        self._returned: dict[nn.Module, Any] = {}
        self._matrix: nn.Module | None = None
        logits = self._watch()
        last = _first(self._returned[model.layout.blocks[-1].block])
        self.width, self.vocabulary = int(last.shape[-1]), int(logits.shape[-1])

    def __call__(self, residual: Float[Tensor, "*positions d_model"]) -> Float[Tensor, "*positions vocabulary"]:
        """Logits of residual streams, position by position, in the model's dtype or what it casts its logits to.

        Gradients flow back into `residual` where it asks for them. Module hooks that somebody else has put behind the
        last block see this as any other run.

        Raises:
            InputError: a stream of another width.
        """
        if residual.shape[-1] != self.width:
            raise InputError(
                f"{self.model.cfg.model_name} reads logits off {self.width} numbers a token after its last block; "
                f"these are {residual.shape[-1]}."
            )
        rows = residual.reshape(-1, 1, self.width).to(self.model.cfg.dtype)
        tokens = torch.zeros(len(rows), 1, dtype=torch.long, device=self.model.cfg.device)
        with leaving_no_trace(self.model.wrapped), self._handing_over(rows):
            logits = self._call(tokens).logits
        return logits.reshape(*residual.shape[:-1], self.vocabulary)

    @property
    def positions_at_once(self) -> int:
        """How many positions to decode in one go, so that no tensor of logits is large."""
        return max(1, LOGITS_AT_ONCE // self.vocabulary)

    def log_probabilities(
        self, residual: Float[Tensor, "*positions d_model"]
    ) -> Float[Tensor, "*positions vocabulary"]:
        """Log-probabilities in nats, in float32 at least."""
        logits = self(residual)
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)

    @property
    def weight(self) -> Float[Tensor, "vocabulary d_model"]:
        """The unembedding matrix. Raises InputError for a model in which no module holds one."""
        weight = getattr(self._matrix, "weight", None)
        if not isinstance(weight, Tensor) or weight.dim() != 2:
            raise InputError(
                f"No module of {self.model.cfg.model_name} holds an unembedding matrix, "
                "so there is nothing that a saved lens could be recognised by."
            )
        return weight.detach() if weight.shape[0] == self.vocabulary else weight.detach().T

    @property
    def hash(self) -> str:
        """The published lenses' fingerprint of the unembedding matrix: SHA-256 of how numpy prints it.

        Printed are the matrix' corners with one digit, so it survives a change of dtype and does not notice light
        fine-tuning.
        """
        matrix = self.weight.float().cpu().numpy()
        with np.printoptions(edgeitems=3, threshold=1000, linewidth=75, suppress=False, floatmode="maxprec", sign="-"):
            return hashlib.sha256(np.array_str(matrix, precision=1).encode()).hexdigest()

    def _watch(self) -> Tensor:
        """Run one token: what each block returns, and which module makes the logits."""
        handles = []
        vocabulary = 0

        def at_block(block: nn.Module, args: Any, output: Any) -> None:
            self._returned[block] = output

        def at_part(part: nn.Module, args: Any, output: Any) -> None:
            weight = getattr(part, "weight", None)
            if isinstance(output, Tensor) and isinstance(weight, Tensor) and weight.dim() == 2:
                read = args[0] if args else None
                if isinstance(read, Tensor) and read.is_floating_point():
                    self._matrix = part

        try:
            for block in self._blocks:
                handles.append(block.register_forward_hook(at_block))
            for part in self.model.wrapped.modules():
                if not any(part.children()):
                    handles.append(part.register_forward_hook(at_part))
            token = torch.zeros(1, 1, dtype=torch.long, device=self.model.cfg.device)
            with torch.no_grad(), leaving_no_trace(self.model.wrapped):
                logits = self._call(token).logits
        finally:
            for handle in handles:
                handle.remove()
        vocabulary = logits.shape[-1]
        weight = getattr(self._matrix, "weight", None)
        if not isinstance(weight, Tensor) or vocabulary not in weight.shape:
            # The logits are made by a function call: with the embedding's matrix, as tied models do it.
            self._matrix = self.model.layout.embed
        return logits

    @contextmanager
    def _handing_over(self, rows: Float[Tensor, "rows 1 d_model"]) -> Iterator[None]:
        """Let every block return `rows`, whatever it reads, and whatever else it returns beside."""
        before = [vars(block).get("forward") for block in self._blocks]
        try:
            for block in self._blocks:
                output = self._returned[block]
                answer = (rows, *output[1:]) if isinstance(output, tuple) else rows

                def hand_over(*args: Any, answer: Any = answer, **kwargs: Any) -> Any:
                    return answer

                vars(block)["forward"] = hand_over
            yield
        finally:
            for block, own in zip(self._blocks, before, strict=True):
                if own is None:
                    del vars(block)["forward"]
                else:
                    vars(block)["forward"] = own


def _first(output: Any) -> Tensor:
    tensor: Tensor = output[0] if isinstance(output, tuple) else output
    return tensor
