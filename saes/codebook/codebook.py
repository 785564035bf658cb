"""A discrete bottleneck: a vector becomes the sum of the `k` codes that point most nearly as it does."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.errors import InputError, LoadError
from workbench.model import HookedModel
from workbench.saes.files.tensors import make_folder, read_tensors, write_tensors
from workbench.saes.site import VectorSite

FORMAT = "workbench.saes.codebook 1"


class Codebook(nn.Module):
    """Codebook features (Tamkin, Taufeeque & Goodman 2023, arXiv:2310.17230, section 2).

    ``C(a)`` is the sum of the `k` codes with the largest cosine similarity to `a`. The choice has no gradient: what
    follows sees ``C(a)``, and what goes before gets the gradient as if it had been seen itself (straight-through,
    van den Oord et al. 2017, arXiv:1711.00937).

    Args:
        codes: ``[n_codes, d_in]``.
        k: codes a vector.
        hook, head, every: where it belongs; as in `VectorSite`.
        model_name: the model it was trained on.

    Raises:
        InputError: `k` is out of range, or a code is 0 or not finite and so points nowhere.
    """

    codes: Float[Tensor, "n_codes d_in"]

    def __init__(
        self,
        codes: Float[Tensor, "n_codes d_in"],
        k: int = 8,
        *,
        hook: str | None = None,
        head: int | None = None,
        every: int = 1,
        model_name: str | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= k <= len(codes):
            raise InputError(f"k is {k}; a vector is made of 1 to {len(codes)} codes.")
        norms = codes.norm(dim=-1)
        if not bool((norms.isfinite() & (norms > 0)).all()):
            raise InputError("A code that is 0 or not finite points nowhere.")
        self.codes = nn.Parameter(codes.detach().clone())
        self.k, self.hook, self.head, self.every, self.model_name = k, hook, head, every, model_name

    def __repr__(self) -> str:
        return f"Codebook({len(self.codes)} codes of {self.d_in}, k={self.k}, {self.model_name}, {self.hook})"

    @property
    def d_in(self) -> int:
        """Numbers a vector has."""
        return int(self.codes.shape[1])

    def site(self, model: HookedModel) -> VectorSite:
        """Where it belongs in a model.

        Raises:
            InputError: the model lacks the hook, or its vectors there are of another width.
        """
        if self.hook is None:
            raise InputError("This codebook does not say which hook it belongs to; give a VectorSite yourself.")
        site = VectorSite.of(model, self.hook, head=self.head, every=self.every)
        there = site.width(model)
        if there != self.d_in:
            raise InputError(
                f"This codebook was trained on {self.d_in} numbers at {self.hook} of {self.model_name}; "
                f"{model.cfg.model_name} has {there} there."
            )
        return site

    def similarities(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch n_codes"]:
        """Cosine similarity of vectors and codes.

        Raises:
            InputError: vectors of another width.
        """
        if x.shape[-1] != self.d_in:
            raise InputError(f"The vectors have {x.shape[-1]} numbers; this codebook takes {self.d_in}.")
        return F.normalize(x.to(self.codes.dtype), dim=-1) @ F.normalize(self.codes, dim=-1).T

    @torch.no_grad()
    def chosen(
        self,
        x: Float[Tensor, "*batch d_in"],
        on: Int[Tensor, " on"] | None = None,
        off: Int[Tensor, " off"] | None = None,
    ) -> Int[Tensor, "*batch k"]:
        """The codes of vectors, the most similar first.

        Args:
            on: codes that every vector gets, in the place of its least similar ones.
            off: codes that none gets.
        """
        scores = self.similarities(x)
        if off is not None:
            scores = scores.index_fill(-1, off.to(scores.device), -torch.inf)
        if on is not None:
            scores = scores.index_fill(-1, on.to(scores.device), torch.inf)
        return scores.topk(self.k, dim=-1).indices

    def decode(self, chosen: Int[Tensor, "*batch k"]) -> Float[Tensor, "*batch d_in"]:
        """The sum of chosen codes."""
        return self.codes[chosen].sum(-2)

    def forward(
        self,
        x: Float[Tensor, "*batch d_in"],
        on: Int[Tensor, " on"] | None = None,
        off: Int[Tensor, " off"] | None = None,
    ) -> Float[Tensor, "*batch d_in"]:
        """``C(x)`` in the dtype of `x`; arguments as in `chosen`.

        Gradients go to the chosen codes, and to `x` as if nothing had been done to it.
        """
        out = self.decode(self.chosen(x, on, off)).to(x.dtype)
        return out + (x - x.detach())

    def reconstruction_loss(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, ""]:
        """Mean squared distance of ``C(x)`` from `x`, for the codes alone: `x` gets no gradient from it."""
        return (self.decode(self.chosen(x)) - x.detach().to(self.codes.dtype)).pow(2).sum(-1).mean()

    def save(self, file: Path | str) -> Path:
        """Write a ``.safetensors`` file, in full or not at all. Raises InputError where it cannot be written."""
        place = Path(file)
        make_folder(place.absolute().parent)
        about = {name: getattr(self, name) for name in ("k", "hook", "head", "every", "model_name")}
        write_tensors(place, {"codes": self.codes}, {"codebook": json.dumps({"format": FORMAT, **about})})
        return place

    @classmethod
    def load(cls, file: Path | str) -> Codebook:
        """Read what `save` wrote. Raises LoadError where that is missing, damaged or something else."""
        tensors, header = read_tensors(Path(file))
        about = json.loads(header.get("codebook", "{}"))
        if about.pop("format", None) != FORMAT or "codes" not in tensors:
            raise LoadError(f"{file} holds no codebook.")
        return cls(tensors["codes"], **about)


def first_codes(
    vectors: Float[Tensor, "vectors d_in"], n_codes: int, k: int, seed: int = 0, rounds: int = 10
) -> Float[Tensor, "n_codes d_in"]:
    """Codes to begin with: centres of spherical k-means++ over vectors, of such lengths that `k` make a vector.

    Args:
        rounds: of Lloyd's algorithm; an empty cluster begins again with a vector.

    Raises:
        InputError: fewer vectors than codes, or vectors that are all 0.
    """
    vectors = vectors[vectors.norm(dim=-1) > 0].float()
    if len(vectors) < n_codes:
        raise InputError(f"{n_codes} codes cannot begin with {len(vectors)} vectors that are not 0; read more text.")
    generator = torch.Generator().manual_seed(seed)
    units = F.normalize(vectors, dim=-1)
    centres = units[_spread(units.cpu(), n_codes, generator).to(units.device)]
    for _ in range(rounds):
        nearest = torch.cat([(part @ centres.T).argmax(-1) for part in units.split(4096)])
        sums = torch.zeros_like(centres).index_add_(0, nearest, units)
        spare = units[torch.randint(len(units), (n_codes,), generator=generator).to(units.device)]
        alive = sums.norm(dim=-1, keepdim=True) > 1e-6
        centres = torch.where(alive, F.normalize(sums, dim=-1), spare)
    return centres * (float(vectors.norm(dim=-1).mean()) / k)


def _spread(units: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Vectors far from each other, each drawn by its squared distance from the others (Arthur & Vassilvitskii 2007)."""
    chosen = [int(torch.randint(len(units), (1,), generator=generator))]
    apart = torch.full((len(units),), 4.0)
    for _ in range(count - 1):
        apart = torch.minimum(apart, (2 - 2 * units @ units[chosen[-1]]).clamp(min=0))
        # Where fewer directions differ than codes are wanted, the rest are drawn evenly.
        weights = apart if float(apart.sum()) > 0 else torch.ones_like(apart)
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
    return torch.tensor(chosen)
