"""Shortcuts: linear maps from any depth to a later one, and in the place of a mixer or an MLP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.probes.lenses.least_squares import AffineMap, LeastSquares
from workbench.probes.lenses.lens import Lens
from workbench.probes.lenses.residuals import residual_streams, sequences_at_once
from workbench.probes.lenses.unembedding import Unembedding
from workbench.progress import tracked

if TYPE_CHECKING:
    from workbench.model import HookedModel

# Sums of products that are held at once while fitting; further pairs of depths take another pass over the tokens.
BYTES_AT_ONCE = 2**29


class ShortcutLens(Lens):
    """Jumps from one depth to a later one with a matrix (Din et al. 2023, arXiv:2303.09435, equation 1).

    Read as a lens it jumps to the last depth.

    Attributes:
        maps: by depth left and depth reached.
    """

    @checked_call
    def __init__(self, model: HookedModel | Unembedding, maps: Mapping[tuple[int, int], AffineMap]) -> None:
        self.name = "shortcut"
        self.unembedding = model if isinstance(model, Unembedding) else Unembedding(model)
        self.maps = dict(maps)

    def transform(
        self, residual: Float[Tensor, "*positions d_model"], depth: int
    ) -> Float[Tensor, "*positions d_model"]:
        return self.jump(residual, depth, self.n_layers)

    def jump(
        self, residual: Float[Tensor, "*positions d_model"], source: int, target: int
    ) -> Float[Tensor, "*positions d_model"]:
        """The guess at the residual stream at depth `target` from that at depth `source`.

        Raises:
            InputError: there is no map between these depths.
        """
        source, target = self.depth_index(source), self.depth_index(target)
        if source == target:
            return residual
        if (source, target) not in self.maps:
            raise InputError(f"No shortcut was fitted from depth {source} to depth {target}.")
        return self.maps[source, target](residual)


@checked_call
def fit_shortcuts(
    model: HookedModel,
    tokens: Int[Tensor, "sequences time"],
    *,
    sources: Iterable[int] | None = None,
    targets: Iterable[int] | None = None,
    bias: bool = False,
    ridge: float = 0.0,
    progress: bool = False,
) -> ShortcutLens:
    """Fit the map of least squared error for each pair of a depth and a later one.

    Sums of products are kept in float64, and tokens are gone through as often as they do not fit half a gigabyte.

    Args:
        tokens: sequences without padding; more tokens than the stream has dimensions, or the map will not hold outside.
        sources: depths to leave from, all by default.
        targets: depths to reach, by default the last alone.
        bias: with a constant; the paper has none.
        ridge: see `LeastSquares.solve`.
        progress: show a progress bar.

    Raises:
        InputError: a depth given twice or out of range, or no pair of a depth and a later one.
    """
    unembedding = Unembedding(model)
    lens = ShortcutLens(unembedding, {})
    last = lens.n_layers
    pairs = [
        (source, target)
        for source in _depths(lens, range(last) if sources is None else sources)
        for target in _depths(lens, [last] if targets is None else targets)
        if source < target
    ]
    if not pairs:
        raise InputError("No depth of `sources` lies before one of `targets`; there is no shortcut to fit.")
    width = unembedding.width
    together = max(1, BYTES_AT_ONCE // (2 * 8 * width * width))
    groups = [pairs[start : start + together] for start in range(0, len(pairs), together)]
    size = sequences_at_once(model, tokens.shape[1])
    passes = [(group, start) for group in groups for start in range(0, len(tokens), size)]
    sums: dict[tuple[int, int], LeastSquares] = {}
    for number, (group, start) in enumerate(tracked(passes, progress, "fitting shortcuts")):
        if start == 0:
            sums = {pair: LeastSquares(width, width, model.cfg.device) for pair in group}
        streams = residual_streams(model, tokens[start : start + size]).flatten(1, 2)
        for (source, target), running in sums.items():
            running.add(streams[source], streams[target])
        if number + 1 == len(passes) or passes[number + 1][1] == 0:
            for pair, running in sums.items():
                lens.maps[pair] = running.solve(bias=bias, ridge=ridge)
    return lens


def _depths(lens: ShortcutLens, depths: Iterable[int]) -> list[int]:
    listed = [lens.depth_index(depth) for depth in depths]
    if len(set(listed)) < len(listed):
        raise InputError(f"A depth is given twice: {listed}.")
    return listed
