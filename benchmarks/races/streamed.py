"""Statistics that need every entry: absolute mass, entropy and the eight largest, streamed or read off the matrix."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import operands
from benchmarks.race import Contestant, Device, Race
from benchmarks.records import Target

STREAMED, DENSE = "streamed", "dense"
TOP = 8


def races() -> tuple[Race, ...]:
    """Against the matrix at a length where that fits, and alone at one where it does not."""
    return against_dense(2048), long(32_768)


def against_dense(time: int, heads: int = 4, width: int = 128, device: Device = "cpu") -> Race:
    """Scalar decay, streamed and dense."""
    make = partial(_form, time, heads, width)
    return Race(
        name="streamed-scalar" if device == "cpu" else "gpu-streamed-scalar",
        title="Absolute mass, entropy and the eight largest entries of every row, scalar decay",
        shapes=f"batch 1, T = {time}, {heads} heads of one group, K = {width}",
        contestants=(
            Contestant(
                STREAMED,
                f'`kernels.stream(form, ("mass", "entropy", "top"), top={TOP})`, no early stop',
                partial(_streamed, make, device),
                _of_stream,
            ),
            Contestant(
                DENSE, "our own `kernels.dense(form)` and these three of it", partial(_dense, make, device), _beside
            ),
        ),
        targets=(Target(side=DENSE, quantity="ratio", at_least=6),),
        oracle=partial(_in_float64, make),
        error_against="the whole matrix of our sequential reference in float64",
        notes="The error is over all three together; the largest values are the masses.",
        memory=True,
        threads=2,
        device=device,
    )


def long(time: int, heads: int = 4, width: int = 128, device: Device = "cpu") -> Race:
    """The same, streamed, at a length whose matrix does not fit."""
    make = partial(_form, time, heads, width)
    return Race(
        name="streamed-scalar-long" if device == "cpu" else "gpu-streamed-scalar-long",
        title="The same of a long sequence",
        shapes=f"batch 1, T = {time}, {heads} heads of one group, K = {width}",
        contestants=(
            Contestant(
                STREAMED,
                f'`kernels.stream(form, ("mass", "entropy", "top"), top={TOP})`, no early stop',
                partial(_streamed, make, device),
                answer=None,
            ),
        ),
        least=1,
        most=1,
        warm_up=0,
        targets=(Target(side=STREAMED, quantity="peak_extra_mb", at_most=1000),),
        computed=partial(_size, time, heads),
        memory=True,
        threads=2,
        device=device,
    )


def _form(time: int, heads: int, width: int) -> Any:
    return operands.state_space_dual(time, heads, value=1, state=width)


def _streamed(make: Callable[[], Any], device: Device) -> Callable[[], Any]:
    from workbench import kernels

    form = make().to(device).form()
    return lambda: kernels.stream(form, ("mass", "entropy", "top"), top=TOP)


def _dense(make: Callable[[], Any], device: Device) -> Callable[[], Any]:
    from workbench import kernels

    form = make().to(device).form()
    return lambda: _statistics(kernels.dense(form))


def _statistics(matrix: Any) -> tuple[Any, Any, Any]:
    """Mass, entropy and the values of largest magnitude of every row."""
    import torch

    size = matrix.abs()
    mass = size.sum(-1)
    share = size / mass[..., None]
    entropy = torch.special.entr(share).sum(-1)
    largest = matrix.gather(-1, size.topk(TOP, dim=-1).indices)
    return mass.transpose(1, 2), entropy.transpose(1, 2), largest.transpose(1, 2)


def _beside(statistics: tuple[Any, Any, Any]) -> Any:
    """All three of a row side by side; the largest entries by their size, which rounding does not reorder."""
    import torch

    mass, entropy, largest = statistics
    return torch.cat([mass[..., None], entropy[..., None], largest.abs()], dim=-1)


def _of_stream(found: Any) -> Any:
    return _beside((found.mass, found.entropy, found.top_values))


def _in_float64(make: Callable[[], Any]) -> Any:
    import torch

    from workbench import kernels

    return _beside(_statistics(kernels.dense(make().to(torch.float64).form(), backend="reference")))


def _size(time: int, heads: int) -> dict[str, str]:
    return {f"the {heads} matrices in float32 would take": f"{heads * time**2 * 4 / 1e9:.1f} GB"}
