"""The same forms on a CUDA device, against fla's and mamba-ssm's kernels; `make bench-gpu` measures them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import operands, peers
from benchmarks.race import Contestant, Device, Race
from benchmarks.races import lengths, streamed
from benchmarks.records import Target

OURS, FLA, MAMBA_SSM = "workbench", "fla", "mamba-ssm"
BATCH, TIME = 8, 4096

Call = Callable[[], Any]
Make = Callable[..., Any]


def races() -> tuple[Race, ...]:
    """Every form's forward pass, then what has no peer."""
    return (
        *forwards(BATCH, TIME),
        states(BATCH, TIME),
        streamed.against_dense(8192, heads=16, device="cuda"),
        streamed.long(131_072, heads=16, device="cuda"),
        lengths.mamba(131_072, channels=1536, device="cuda"),
        lengths.gated_delta(131_072, heads=16, device="cuda"),
    )


def forwards(batch: int, time: int, dtype: str = "bfloat16", device: Device = "cuda") -> tuple[Race, ...]:
    """One race a family."""
    many = partial(partial, time=time, batch=batch)  # the sizes of a family with these two
    scan = many(operands.selective_scan)
    dual, heads = many(operands.state_space_dual), "24 heads of 64, one group of state 128"
    delta, wide = many(operands.gated_delta), "16 heads, K = V = 128"
    rows = (
        ("mamba", "Mamba-1's scan", scan, MAMBA_SSM, _selective_scan, "float32", "1536 channels, state 16"),
        ("mamba2", "Mamba-2's recurrence", dual, MAMBA_SSM, _chunk_scan, dtype, heads),
        ("scalar", "Scalar decay", dual, FLA, _simple_gla, dtype, heads),
        ("gla", "GLA's recurrence", many(operands.gated_linear), FLA, _gla, dtype, "4 heads, K = 128, V = 256"),
        ("gated-delta", "Gated DeltaNet's recurrence", delta, FLA, _gated_delta, dtype, wide),
        ("kda", "KDA's recurrence", partial(delta, per_channel=True), FLA, _kda, dtype, wide),
        ("rwkv7", "RWKV-7's recurrence", many(operands.generalised_delta), FLA, _rwkv7, dtype, "12 heads, K = V = 64"),
    )
    return tuple(_race(*row[:-1], f"batch {batch}, T = {time}, {row[-1]}", device) for row in rows)


def states(batch: int, time: int, dtype: str = "bfloat16", device: Device = "cuda", every: int = 64) -> Race:
    """The states of Gated DeltaNet, one of every so many steps."""

    def inputs() -> Any:
        return _inputs(partial(operands.gated_delta, time, batch=batch), dtype, device)

    def at() -> list[int]:
        return [*range(every - 1, time, every)]

    def ours() -> Call:
        from workbench import kernels

        form = inputs().form()
        return lambda: kernels.states(form, at())

    def segments() -> Call:
        import torch

        chunk = peers.load("fla.ops.gated_delta_rule", "fla's gated delta rule").chunk_gated_delta_rule
        parts = [part.split(every, dim=1) for part in vars(inputs()).values()]

        def call() -> Any:
            kept: list[Any] = [None]
            for part in zip(*parts, strict=True):
                kept.append(chunk(*part, initial_state=kept[-1], output_final_state=True)[1])
            return torch.stack(kept[1 : 1 + len(at())], dim=1)

        return call

    def oracle() -> Any:
        import torch

        from workbench import kernels

        return kernels.states(inputs().to(torch.float64).form(), at(), backend="reference")

    return Race(
        name="gpu-states-gated-delta",
        title=f"Gated DeltaNet's states after every {every} steps, on a GPU",
        shapes=f"batch {batch}, T = {time}, 16 heads, K = V = 128",
        dtype=f"{dtype}, gates in float32",
        contestants=(
            Contestant(OURS, "`workbench.kernels.states(form, at)`", ours),
            Contestant(
                FLA,
                "`fla.ops.gated_delta_rule.chunk_gated_delta_rule` on one stretch after the other, each beginning with "
                "the final state of the one before: its states inside a call are not handed out",
                segments,
            ),
        ),
        targets=(Target(side=FLA, quantity="ratio", at_least=1),),
        oracle=oracle,
        error_against="our sequential reference in float64, on the rounded operands",
        warm_up=5,
        memory=True,
        environment=FLA,
        alone=True,
        device=device,
    )


def _race(
    key: str, title: str, make: Make, peer: str, build: Callable[[Any], Call], dtype: str, shapes: str, device: Device
) -> Race:
    def inputs() -> Any:
        return _inputs(make, dtype, device)

    def ours() -> Call:
        from workbench import kernels

        own = inputs()
        return lambda: kernels.forward(own.form())[0]

    def oracle() -> Any:
        import torch

        from workbench import kernels

        return kernels.forward(inputs().to(torch.float64).form(), backend="reference")[0]

    return Race(
        name=f"gpu-core-{key}",
        title=f"{title} on a GPU, forward",
        shapes=shapes,
        dtype=f"{dtype}, gates in float32",
        contestants=(
            Contestant(OURS, "`workbench.kernels.forward(form)`, outputs and final state", ours),
            Contestant(peer, _WHAT[build], lambda: build(inputs())),
        ),
        targets=(Target(side=peer, quantity="ratio", at_least=0.9),),
        oracle=oracle,
        error_against="our sequential reference in float64, on the rounded operands",
        warm_up=5,
        memory=True,
        environment=peer,
        alone=True,
        device=device,
    )


def _inputs(make: Make, dtype: str, device: Device) -> Any:
    import torch

    return make().rounded(getattr(torch, dtype)).to(device)


def _selective_scan(own: operands.SelectiveScan) -> Call:
    scan = peers.load("mamba_ssm.ops.selective_scan_interface", "mamba-ssm's scan").selective_scan_fn
    x, dt, B, C = (part.transpose(1, 2).contiguous() for part in (own.x, own.dt, own.B, own.C))
    return lambda: scan(x, dt, own.A, B, C).transpose(1, 2)[..., None]


def _chunk_scan(own: operands.StateSpaceDual) -> Call:
    scan = peers.load("mamba_ssm.ops.triton.ssd_combined", "mamba-ssm's chunks").mamba_chunk_scan_combined
    return lambda: scan(own.x, own.dt, own.A, own.B, own.C, 256)


def _simple_gla(own: operands.StateSpaceDual) -> Call:
    chunk = peers.load("fla.ops.simple_gla", "fla's scalar decay").chunk_simple_gla
    heads = own.x.shape[2]
    q, k = (part.expand(-1, -1, heads, -1).contiguous() for part in (own.C, own.B))
    # It has no write strength: the time step goes into the values, and the product is part of the job.
    return lambda: chunk(q, k, (own.x * own.dt[..., None]).to(own.x.dtype), g=own.dt * own.A, scale=1.0)[0]


def _gla(own: operands.GatedLinear) -> Call:
    chunk = peers.load("fla.ops.gla", "fla's GLA").chunk_gla
    return lambda: chunk(own.q, own.k, own.v, own.log_decay)[0]


def _gated_delta(own: operands.GatedDelta) -> Call:
    chunk = peers.load("fla.ops.gated_delta_rule", "fla's gated delta rule").chunk_gated_delta_rule
    return lambda: chunk(own.q, own.k, own.v, own.log_decay, own.beta)[0]


def _kda(own: operands.GatedDelta) -> Call:
    chunk = peers.load("fla.ops.kda", "fla's KDA").chunk_kda
    return lambda: chunk(own.q, own.k, own.v, own.log_decay, own.beta)[0]


def _rwkv7(own: operands.GeneralisedDelta) -> Call:
    chunk = peers.load("fla.ops.rwkv7", "fla's RWKV-7").chunk_rwkv7
    return lambda: chunk(own.r, own.log_decay, own.k, own.v, -own.direction, own.direction * own.rate)[0]


_WHAT: dict[Callable[[Any], Call], str] = {
    _selective_scan: "`mamba_ssm.ops.selective_scan_interface.selective_scan_fn`, no skip, gate or softplus",
    _chunk_scan: "`mamba_ssm.ops.triton.ssd_combined.mamba_chunk_scan_combined`, chunks of 256",
    _simple_gla: "`fla.ops.simple_gla.chunk_simple_gla`, B and C copied to every head, time steps into the values",
    _gla: "`fla.ops.gla.chunk_gla`",
    _gated_delta: "`fla.ops.gated_delta_rule.chunk_gated_delta_rule`",
    _kda: "`fla.ops.kda.chunk_kda`",
    _rwkv7: "`fla.ops.rwkv7.chunk_rwkv7`",
}
