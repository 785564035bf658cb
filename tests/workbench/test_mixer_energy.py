import pytest
import torch

from workbench.attention import ImplicitAttention
from workbench.forms import DiagonalDecay, MixerForm


def mixer(
    batch: int = 2,
    time: int = 9,
    heads: int = 3,
    width: int = 4,
    taps: int | None = 4,
    shared: bool = True,
    rate: bool = True,
    bare: bool = False,
) -> MixerForm:
    """A random mixer in float64 around a diagonal decay with one channel a head, as in Mamba-1."""

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64)

    groups = 1 if shared else heads
    core = DiagonalDecay(
        q=random(batch, time, groups, width),
        k=random(batch, time, groups, width),
        v=random(batch, time, heads, 1),
        log_decay=-random(batch, time, heads, 1 if rate else width).abs(),
        rate=random(heads, width).abs() if rate else None,
        write=None if bare else random(batch, time, heads).abs(),
    )
    return MixerForm(
        core=core,
        z=random(batch, time, heads, 1),
        outputs=random(batch, time, heads, 1),
        inputs=random(batch, time, heads, 1),
        conv=None if taps is None else random(heads, 1, taps),
        source=None if bare else random(batch, time, heads, 1),
        skip=None if bare else random(batch, time, heads, 1),
        gate=random(batch, time, heads, 1),
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"time": 2},
        {"time": 40, "taps": 2},
        {"taps": None},
        {"taps": 1},
        {"shared": False},
        {"rate": False},
        {"bare": True},
    ],
    ids=str,
)
def test_linear_row_energy_is_the_sum_of_the_squared_entries(options: dict[str, int | bool | None]) -> None:
    attention = ImplicitAttention(mixer(**options), scope="mixer")  # type: ignore[arg-type]
    expected = attention.dense().square().sum(-1)
    torch.testing.assert_close(attention.row_energy(), expected, rtol=1e-10, atol=1e-12)


def test_row_energy_does_not_depend_on_how_many_heads_are_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    form = mixer(heads=5, shared=False)
    whole = ImplicitAttention(form, scope="mixer").row_energy()
    monkeypatch.setattr(
        "workbench.attention.mixer_energy.blocks", lambda n, each: (slice(i, min(i + 2, n)) for i in range(0, n, 2))
    )
    torch.testing.assert_close(ImplicitAttention(form, scope="mixer").row_energy(), whole)
