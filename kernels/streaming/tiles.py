"""Reduces tiles of A as they come, whatever form they belong to."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from workbench.kernels.precision import sum_dtype
from workbench.kernels.streaming.result import Plan, Streamed, binned

Tile = Float[Tensor, "batch heads rows sources"]


class Tiles:
    """Sums over the tiles of one matrix.

    Rows come a block at a time: `open` it, `add` its tiles from the latest sources to the earliest, `close` it. Tiles
    have zeros above the diagonal. Sums are kept in float64 (float32 on Apple's GPUs) and rounded once, at the end.
    """

    def __init__(
        self, plan: Plan, batch: int, heads: int, time: int, source: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.plan, self.batch, self.heads, self.source = plan, batch, heads, source
        self.dtype, self.device = dtype, device
        self.wide = sum_dtype(device)
        self.offset = source - time  # queries are the last of the sources
        columns = (batch, heads, source)
        self.column_mass = torch.zeros(columns, dtype=self.wide, device=device)
        self.column_energy = torch.zeros_like(self.column_mass)
        self.by_distance = torch.zeros_like(self.column_mass)
        self.finished: list[dict[str, Tensor]] = []

    def open(self, rows: slice) -> None:
        """Begin a block of rows."""
        self.rows = rows
        shape = (self.batch, self.heads, rows.stop - rows.start)
        # entropy is that of the entries themselves, not yet of their share of the mass; distances are sums, too.
        names = ("mass", "energy", "entropy", "mean_distance_by_mass", "mean_distance_by_energy")
        self.sums = {
            name: torch.zeros(shape, dtype=self.wide, device=self.device) for name in names if self._wants(name)
        }
        self.values = torch.zeros(*shape, self.plan.top, dtype=self.dtype, device=self.device)
        self.sources = torch.full((*shape, self.plan.top), -1, dtype=torch.long, device=self.device)

    @property
    def seen(self) -> Float[Tensor, "batch heads rows"]:
        """The mass of the open rows so far."""
        return self.sums["mass"]

    def add(self, tile: Tile, sources: slice) -> None:
        """Take in a tile of the open rows; its sources come before those of the tiles before it."""
        if not tile.numel():
            return
        size, plan = tile.abs(), self.plan
        self._sum("mass", size)
        squares = size.square() if "energy" in plan or "column_energy" in plan else size
        if "energy" in plan:
            self._sum("energy", squares)
        if "entropy" in plan:
            self._sum("entropy", torch.special.entr(size))
        if "mean_distance_by_mass" in plan or "mean_distance_by_energy" in plan:
            distance = self._distance(sources)
            if "mean_distance_by_mass" in plan:
                self._sum("mean_distance_by_mass", size * distance)
            if "mean_distance_by_energy" in plan:
                self._sum("mean_distance_by_energy", squares * distance)
        if "column_mass" in plan:
            self.column_mass[..., sources] += size.sum(-2, dtype=self.wide)
        if "column_energy" in plan:
            self.column_energy[..., sources] += squares.sum(-2, dtype=self.wide)
        if "histogram" in plan:
            self._add_by_distance(size, sources)
        # Of most tiles under decay nothing reaches what is already kept. (A row with a NaN has no list in the end.)
        if "top" in plan and bool((size > self.values[..., -1:].abs()).any()):
            positions = torch.arange(sources.start, sources.stop, device=self.device).flip(0).expand(tile.shape)
            self.values, self.sources = largest([self.values, tile.flip(-1)], [self.sources, positions], plan.top)

    def close(self, missed: Float[Tensor, "batch heads rows"] | None) -> None:
        """End the block of rows; `missed` is the certified bound on what was not added, None for nothing."""
        sums = self.sums
        mass = sums["mass"]
        done = {"mass": mass, "missed": torch.zeros_like(mass) if missed is None else missed}
        if "entropy" in sums:
            # sum p log p with p = a / mass; rounding may leave less than none.
            done["entropy"] = (share(sums["entropy"], mass) + mass.log().where(mass != 0, 0)).clamp(min=0)
        if "energy" in sums:
            done["energy"] = sums["energy"]
        for weight in ("mass", "energy"):
            name = f"mean_distance_by_{weight}"
            if name in sums:
                done[name] = share(sums[name], sums[weight])
        self.finished.append({name: value.to(self.dtype).transpose(1, 2) for name, value in done.items()})
        if "top" in self.plan:
            self.finished[-1]["top_values"] = self.values.transpose(1, 2)
            self.finished[-1]["top_sources"] = self.sources.transpose(1, 2)

    def result(self) -> Streamed:
        """Everything, once all rows are closed."""
        names = self.finished[0] if self.finished else {}
        results = {name: torch.cat([block[name] for block in self.finished], dim=1) for name in names}
        for name in ("column_mass", "column_energy"):
            if self._wants(name):
                results[name] = getattr(self, name).to(self.dtype).transpose(1, 2)
        if "histogram" in self.plan:
            results["histogram"] = binned(self.by_distance, self.plan.edges).to(self.dtype)
            results["edges"] = torch.tensor(self.plan.edges, device=self.device)
        return Streamed(**results)

    def _wants(self, name: str) -> bool:
        return name in self.plan.wanted

    def _sum(self, name: str, tile: Tile) -> None:
        self.sums[name] += tile.sum(-1, dtype=self.wide)

    def _distance(self, sources: slice) -> Float[Tensor, "rows sources"]:
        queries = torch.arange(self.rows.start, self.rows.stop, device=self.device) + self.offset
        keys = torch.arange(sources.start, sources.stop, device=self.device)
        # Above the diagonal there is nothing but zeros; a negative distance would make a NaN's sign.
        return (queries[:, None] - keys).to(self.dtype)

    def _add_by_distance(self, size: Tile, sources: slice) -> None:
        rows, width = size.shape[-2:]
        # Each row one place further right than the row before, and sources from right to left: columns are distances.
        skewed = pad(size.flip(-1), (0, rows)).flatten(-2)[..., :-rows].unflatten(-1, (rows, rows + width - 1))
        nearest = self.rows.start + self.offset - (sources.stop - 1)
        sums = skewed.sum(-2, dtype=self.wide)[..., max(0, -nearest) :]
        nearest = max(0, nearest)
        self.by_distance[..., nearest : nearest + sums.shape[-1]] += sums


def largest(
    values: list[Float[Tensor, "*rows _"]], sources: list[Int[Tensor, "*rows _"]], top: int
) -> tuple[Float[Tensor, "*rows top"], Int[Tensor, "*rows top"]]:
    """The `top` candidates of largest magnitude and their sources; of equal ones the first. Zeros have source -1."""
    value, source = torch.cat(values, dim=-1), torch.cat(sources, dim=-1)
    order = value.abs().sort(stable=True, dim=-1, descending=True).indices[..., :top]
    value, source = value.gather(-1, order), source.gather(-1, order)
    return value, source.masked_fill(value == 0, -1)


def share(part: Tensor, whole: Tensor) -> Tensor:
    """``part / whole``, and 0 where there is nothing to share."""
    return part / whole.where(whole != 0, 1)
