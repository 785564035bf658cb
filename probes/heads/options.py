"""What finders of every sort take alike: seeds, layers, groups of channels, levels; and the rows of their tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.families.base import MixerAdapter
from workbench.model import HookedModel
from workbench.probes.heads.null import check_draws, null_quantile, p_value
from workbench.sites import Site
from workbench.tasks import bootstrap_means


@dataclass(frozen=True)
class Looking:
    """Which heads are looked at, and how what is found becomes columns.

    Attributes:
        wanted: the mixers, in order.
        group: neighbouring heads pooled into one row.
        null_level: quantile of the rivals' scores that column ``null`` holds.
        level: coverage of the intervals.

    Raises:
        InputError: an option that makes no sense.
    """

    wanted: list[MixerAdapter]
    group: int
    null_level: float
    level: float

    def __post_init__(self) -> None:
        if not 0 < self.null_level < 1:
            raise InputError(f"null_level is {self.null_level}; a quantile between 0 and 1 is needed, such as 0.95.")
        for adapter in self.wanted:
            if self.group < 1 or adapter.n_heads % self.group:
                raise InputError(
                    f"Groups of {self.group} do not divide the {adapter.n_heads} heads of {adapter.place}."
                )

    @classmethod
    def at(
        cls,
        model: HookedModel,
        layers: Sequence[int] | int | None,
        mixer: int | None,
        group: int,
        null_level: float,
        level: float,
    ) -> Looking:
        """The mixers of these layers. A table is read by layer number, so none counts from the end."""
        listed = [layers] if isinstance(layers, int) else layers
        count = model.cfg.n_layers
        for layer in listed or ():
            if not 0 <= layer < count:
                raise InputError(f"There is no layer {layer}; the model has layers 0..{count - 1}.")
        if listed is not None and not listed:
            raise InputError("layers is empty; name at least one, or leave it out for all.")
        return cls(model.mixers_of(listed, mixer), group, null_level, level)

    @property
    def layers(self) -> list[int]:
        """The layers that the mixers are in."""
        return sorted({adapter.layer for adapter in self.wanted})

    def rows_of(self, adapter: MixerAdapter) -> int:
        """How many rows of the table a mixer has."""
        return adapter.n_heads // self.group

    def rows(
        self,
        adapter: MixerAdapter,
        scores: Float[Tensor, "units rows"],
        rivals: Float[Tensor, "draws rows"],
        **fixed: object,
    ) -> list[dict[str, object]]:
        """The rows of one mixer, from scores by independent unit and the scores at rival places."""
        score, low, high = bootstrap_means(scores, level=self.level, units="sequences (raise batch)")
        null = null_quantile(rivals, self.null_level)
        p = p_value(score, rivals)
        columns = {"score": score, "low": low, "high": high, "null": null, "excess": score - null, "p": p}
        return [
            {
                "layer": adapter.layer,
                "mixer": adapter.index,
                "head": row * self.group,
                "site": str(Site.heads(adapter.layer, row * self.group, (row + 1) * self.group, mixer=adapter.index)),
                **{name: float(column[row]) for name, column in columns.items()},
                "family": adapter.family,
                **fixed,
            }
            for row in range(self.rows_of(adapter))
        ]


def as_seeds(seeds: Sequence[int] | int) -> Sequence[int]:
    """Several seeds, or one. Raises InputError for none."""
    several = [seeds] if isinstance(seeds, int) else seeds
    if not several:
        raise InputError("seeds is empty; at least one is needed.")
    return several


def check_block(block: int, null_draws: int) -> None:
    """Refuse what no random text can be made of. Raises InputError."""
    if block < 2:
        raise InputError(f"block is {block}; a block of one token repeats itself at once, so at least 2 are needed.")
    check_draws(null_draws)
