"""A matrix of low rank, kept as the product of two: a head's circuits are d_model x d_model and have rank d_head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from workbench.errors import InputError


@dataclass(frozen=True, eq=False)
class FactoredMatrix:
    """``A B``, never multiplied out: singular values, eigenvalues and norms come from matrices of the inner size.

    Batch axes in front of the two broadcast. Singular vectors come from the QR decompositions of the factors, so that
    a circuit of a 4096-wide model costs what a 128 x 128 matrix costs.

    Attributes:
        A: ``[..., left, inner]``.
        B: ``[..., inner, right]``.

    Raises:
        InputError: the inner sizes differ.
    """

    A: Float[Tensor, "*#batch left inner"]
    B: Float[Tensor, "*#batch inner_of_b right"]

    def __post_init__(self) -> None:
        if self.A.shape[-1] != self.B.shape[-2]:
            raise InputError(f"A is {[*self.A.shape]} and B is {[*self.B.shape]}; their inner sizes differ.")

    def __repr__(self) -> str:
        return f"FactoredMatrix({[*self.shape]}, rank at most {self.rank})"

    @property
    def shape(self) -> torch.Size:
        """Of the product, batch axes first."""
        batch = torch.broadcast_shapes(self.A.shape[:-2], self.B.shape[:-2])
        return torch.Size([*batch, self.A.shape[-2], self.B.shape[-1]])

    @property
    def rank(self) -> int:
        """The largest rank that it can have."""
        return min(self.A.shape[-2], self.A.shape[-1], self.B.shape[-1])

    @property
    def AB(self) -> Float[Tensor, "*batch left right"]:
        """The product itself, where somebody has room for it."""
        return self.A @ self.B

    @property
    def T(self) -> FactoredMatrix:
        """The transpose."""
        return FactoredMatrix(self.B.transpose(-1, -2), self.A.transpose(-1, -2))

    def __getitem__(self, index: Any) -> FactoredMatrix:
        """One or several matrices of a batch."""
        batch = self.shape[:-2]
        a = self.A.expand(*batch, *self.A.shape[-2:])
        b = self.B.expand(*batch, *self.B.shape[-2:])
        return FactoredMatrix(a[index], b[index])

    def __matmul__(self, other: FactoredMatrix | Tensor) -> FactoredMatrix:
        """The product with another matrix, still factored, by whichever inner size is smaller."""
        if isinstance(other, Tensor):
            return FactoredMatrix(self.A, self.B @ other)
        middle = self.B @ other.A
        if self.A.shape[-1] <= other.A.shape[-1]:
            return FactoredMatrix(self.A, middle @ other.B)
        return FactoredMatrix(self.A @ middle, other.B)

    def __rmatmul__(self, other: Float[Tensor, "*batch rows left"]) -> FactoredMatrix:
        """A matrix times this one."""
        return FactoredMatrix(other @ self.A, self.B)

    def norm(self) -> Float[Tensor, "*batch"]:
        """The Frobenius norm."""
        left, right = self.reduced()
        norm: Tensor = torch.linalg.matrix_norm(left @ right)
        return norm

    def reduced(self) -> tuple[Float[Tensor, "*#batch small inner"], Float[Tensor, "*#batch inner small_too"]]:
        """Small factors with the singular values of the large ones: the triangles of two QR decompositions."""
        wide = torch.promote_types(self.A.dtype, torch.float32)
        left = torch.linalg.qr(self.A.to(wide), mode="r")[1]
        right = torch.linalg.qr(self.B.to(wide).transpose(-1, -2), mode="r")[1]
        return left, right.transpose(-1, -2)

    def svd(
        self,
    ) -> tuple[Float[Tensor, "*batch left rank"], Float[Tensor, "*batch rank"], Float[Tensor, "*batch right rank"]]:
        """``U, S, V`` with ``A B = U diag(S) V'``, largest singular value first; computed in float32 at least."""
        wide = torch.promote_types(self.A.dtype, torch.float32)
        outer_left, left = torch.linalg.qr(self.A.to(wide))
        outer_right, right = torch.linalg.qr(self.B.to(wide).transpose(-1, -2))
        u, s, v = torch.linalg.svd(left @ right.transpose(-1, -2), full_matrices=False)
        return outer_left @ u, s, outer_right @ v.transpose(-1, -2)

    def singular_values(self) -> Float[Tensor, "*batch rank"]:
        """Largest first."""
        left, right = self.reduced()
        values: Tensor = torch.linalg.svdvals(left @ right)
        return values

    def eigenvalues(self) -> Complex[Tensor, "*batch inner"]:
        """Those that can differ from zero, in no particular order: the eigenvalues of ``B A``.

        Raises:
            InputError: the matrix is not square.
        """
        if self.shape[-1] != self.shape[-2]:
            raise InputError(f"A matrix of {self.shape[-2]} x {self.shape[-1]} has no eigenvalues.")
        product = self.B @ self.A
        values: Tensor = torch.linalg.eigvals(product.to(torch.promote_types(product.dtype, torch.float32)))
        return values

    def copying_score(self) -> Float[Tensor, "*batch"]:
        """``sum(eigenvalues) / sum(|eigenvalues|)``: 1 where a circuit adds to what it reads (Elhage et al. 2021)."""
        values = self.eigenvalues()
        return values.sum(-1).real / values.abs().sum(-1).clamp(min=1e-30)
