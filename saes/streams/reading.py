"""Vectors of a text at some sites, pass by pass, in the order of the text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import InputError, NotFiniteError
from workbench.hooks import HookPoint
from workbench.model import HookedModel
from workbench.saes.site import Keep, VectorSite
from workbench.saes.streams.fingerprint import weights_fingerprint
from workbench.saes.streams.source import Position, SourceLike, TokenBatch, as_source
from workbench.stopping import Stopped

SiteLike: TypeAlias = "VectorSite | str"


@dataclass(frozen=True, eq=False)
class Rows:
    """The vectors of one forward pass, a row a token, the same tokens at every site.

    Attributes:
        values: of each site.
        document, position: of each row's token, as in `TokenBatch`.
        after: where to go on from, as in `TokenBatch`.
    """

    values: tuple[Float[Tensor, "rows _"], ...]
    document: Int[Tensor, " rows"]
    position: Int[Tensor, " rows"]
    after: Position

    def __len__(self) -> int:
        return len(self.document)


class NotFiniteRowError(NotFiniteError):
    """A row that holds NaN or an infinity.

    Attributes:
        row: its number among the rows of its pass.
        what: the sentence without its full stop.
    """

    def __init__(self, what: str, row: int) -> None:
        super().__init__(f"{what}.")
        self.what, self.row = what, row


class Reading:
    """What reads some sites of a model on a text; the model runs no further than the last of them.

    Args:
        sites: hooks or `VectorSite`s that read the same tokens.
        windows: windows a forward pass.
        special: read the tokens that mark a beginning or an end, too; what fills a row up is never read.
        drop_first: tokens at the start of every window that are not read: the first one attracts attention from
            everywhere and its norm is like no other's.
        dtype, device: of the rows; None for the model's.

    Raises:
        InputError: sites that read other tokens than each other; windows too short for any to be read; see
            `VectorSite.of` and `TextSource`.
    """

    def __init__(
        self,
        model: HookedModel,
        source: SourceLike,
        sites: SiteLike | Sequence[SiteLike],
        *,
        length: int | None = None,
        windows: int = 16,
        special: bool = False,
        drop_first: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        seed: int | None = 0,
    ) -> None:
        several = [sites] if isinstance(sites, VectorSite | str) else list(sites)
        if not several:
            raise InputError("There is no site to read; name a hook.")
        self.model, self.source = model, as_source(source, length, seed)
        self.sites = [site if isinstance(site, VectorSite) else VectorSite.of(model, site) for site in several]
        self.every = self.sites[0].every
        if any(site.every != self.every for site in self.sites):
            raise InputError(f"Sites that are read together read the same tokens: {'; '.join(map(str, self.sites))}.")
        if drop_first < 0 or not len(range(max(drop_first, self.every - 1), self.source.length)):
            raise InputError(
                f"Nothing is read of windows of {self.source.length} tokens without their first {drop_first}, one "
                f"token in {self.every}."
            )
        if windows < 1:
            raise InputError(f"windows is {windows}; at least one window a forward pass is needed.")
        self.windows, self.special, self.drop_first = windows, special, drop_first
        self.dtype = model.cfg.dtype if dtype is None else dtype
        self.device = model.cfg.device if device is None else torch.device(device)
        self.widths = tuple(site.width(model) for site in self.sites)
        self._fingerprint: str | None = None

    @property
    def most_rows(self) -> int:
        """Rows that a forward pass has at most."""
        return self.windows * len(self.sites[0].positions(self.source.length))

    def rows(self, position: Position | None = None) -> Iterator[Rows]:
        """The rows of every pass, from a position on; a pass of which nothing is read gives none of them.

        Raises:
            NotFiniteError: a vector holds NaN or an infinity; names the hook, the document and the token.
        """
        for batch in self.source.batches(self.model, self.windows, position):
            yield self.read(batch)

    def about(self) -> dict[str, Any]:
        """What decides about the rows, as plain values."""
        if self._fingerprint is None:
            self._fingerprint = weights_fingerprint(self.model)
        return {
            "model": self.model.cfg.model_name,
            "weights": self._fingerprint,
            "sites": [_described(site) for site in self.sites],
            "widths": list(self.widths),
            "source": self.source.about(),
            "windows": self.windows,
            "special": self.special,
            "drop_first": self.drop_first,
        }

    def wanted(self, batch: TokenBatch) -> Bool[Tensor, "windows positions"]:
        """Which tokens of the windows are read, of those at the sites' positions."""
        columns = self.sites[0].positions(batch.tokens.shape[1])
        wanted = (batch.document >= 0 if self.special else batch.text).clone()
        wanted[:, : self.drop_first] = False
        return wanted[:, columns.start :: columns.step]

    def read(self, batch: TokenBatch) -> Rows:
        """The rows of one pass.

        Raises:
            NotFiniteError: see `rows`.
        """
        columns = self.sites[0].positions(batch.tokens.shape[1])
        wanted = self.wanted(batch)
        chosen = wanted.to(self.model.cfg.device)
        kept: list[list[Tensor]] = [[] for _ in self.sites]
        if bool(wanted.any()):
            self._run(batch, chosen, kept)
        values = tuple(
            self._rows(parts, chosen, site, width)
            for parts, site, width in zip(kept, self.sites, self.widths, strict=True)
        )
        found = Rows(
            values,
            batch.document[:, columns.start :: columns.step][wanted],
            batch.position[:, columns.start :: columns.step][wanted],
            batch.after,
        )
        self._check_finite(found)
        return found

    def _run(self, batch: TokenBatch, chosen: Tensor, kept: list[list[Tensor]]) -> None:
        """Run the model until every site has shown what is wanted of it, and no further."""
        whole = bool(chosen.all())
        left = sum(chosen.shape[1] if self.model.points[site.hook].per_step else 1 for site in self.sites)

        def keeper(into: list[Tensor]) -> Keep:
            def keep(vectors: Tensor, hook: HookPoint) -> None:
                nonlocal left
                if hook.step is None:
                    into.append(vectors.detach().flatten(0, 1) if whole else vectors.detach()[chosen])
                else:
                    into.append(vectors.detach()[chosen[:, (hook.step + 1) // self.every - 1]])
                left -= 1
                if not left:
                    raise Stopped

            return keep

        hooks = [site.reader(self.model, keeper(into)) for site, into in zip(self.sites, kept, strict=True)]
        with torch.no_grad():
            self.model.run_with_hooks(batch.tokens.to(self.model.cfg.device), fwd_hooks=hooks, return_type=None)

    def _rows(self, parts: list[Tensor], chosen: Tensor, site: VectorSite, width: int) -> Tensor:
        """One tensor of what the hook was shown; states come step by step and are put in the order of the text."""
        if not parts:
            return torch.empty(0, width, dtype=self.dtype, device=self.device)
        if not self.model.points[site.hook].per_step:
            return parts[0].to(device=self.device, dtype=self.dtype)
        # Columns are chosen step by step, so the rows of a step stand together; the text has a window's together.
        step_first = chosen.T.nonzero()
        order = torch.argsort(step_first[:, 1] * chosen.shape[1] + step_first[:, 0])
        return torch.cat(parts)[order].to(device=self.device, dtype=self.dtype)

    def _check_finite(self, rows: Rows) -> None:
        for site, values in zip(self.sites, rows.values, strict=True):
            row = first_not_finite(values)
            if row is None:
                continue
            what = "NaN" if bool(values[row].isnan().any()) else "infinite"
            name = self.source.name(int(rows.document[row]))
            where = f"token {int(rows.position[row])} of {name}" if rows.position[row] >= 0 else f"a mark in {name}"
            raise NotFiniteRowError(f"{site} of {self.model.cfg.model_name} is {what} at {where}", row)


def first_not_finite(values: Float[Tensor, "rows _"]) -> int | None:
    """The first row that holds NaN or an infinity, if one does."""
    # A sum is finite only if every number is, and takes no second tensor of that size.
    if bool(values.sum(dtype=torch.float64).isfinite()):
        return None
    wrong = (~values.isfinite().all(-1)).nonzero()
    return int(wrong[0]) if len(wrong) else None


def read_rows(
    model: HookedModel,
    source: SourceLike,
    sites: SiteLike | Sequence[SiteLike],
    *,
    length: int | None = None,
    windows: int = 16,
    special: bool = False,
    drop_first: int = 0,
    position: Position | None = None,
) -> Iterator[Rows]:
    """Vectors of some sites in the order of the text, pass by pass; see `Reading` for arguments and errors."""
    reading = Reading(model, source, sites, length=length, windows=windows, special=special, drop_first=drop_first)
    return reading.rows(position)


def basis_of(site: VectorSite) -> Float[Tensor, "rank features"]:
    """A site's basis as it is written to files. Raises InputError for a site without one."""
    if site.basis is None:
        raise InputError(f"{site} is read whole: it has no basis.")
    return site.basis.detach().float().cpu().contiguous()


def basis_word(basis: Float[Tensor, "rank features"]) -> str:
    """What tells a basis from others, in a word."""
    return hashlib.sha256(basis.numpy().tobytes()).hexdigest()[:16]


def _described(site: VectorSite) -> dict[str, Any]:
    basis = None if site.basis is None else basis_word(basis_of(site))
    return {"hook": site.hook, "head": site.head, "every": site.every, "basis": basis}
