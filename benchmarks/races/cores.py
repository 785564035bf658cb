"""The recurrences alone, on a CPU: Mamba-1's scan, Mamba-2, Gated DeltaNet, RWKV-7 and GLA, each forward pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import operands, peers
from benchmarks.race import Contestant, Race
from benchmarks.records import Target

OURS = "workbench"
TRANSFORMERS, MAMBAPY, FLA, FLA_LOOP = "transformers", "mambapy", "fla, chunks in PyTorch", "fla, loop in PyTorch"
_ORACLE = "our sequential reference in float64"

Make = Callable[[], Any]
Call = Callable[[], Any]


def races() -> tuple[Race, ...]:
    """Every core, at the lengths that are promised."""
    return (
        scan(1024),
        state_space_dual(2048),
        gated_delta(2048),
        generalised_delta(2048),
        gated_linear(2048),
    )


def scan(time: int, channels: int = 1536, state: int = 16) -> Race:
    """Mamba-1's selective scan."""
    make = partial(operands.selective_scan, time, channels, state)
    return Race(
        name="core-mamba",
        title="Mamba-1's scan, forward",
        shapes=f"batch 1, T = {time}, {channels} channels, state {state}",
        contestants=(
            _ours(make),
            Contestant(
                TRANSFORMERS,
                "`transformers.models.mamba.modeling_mamba.mamba_selective_scan` as the mixer calls it without CUDA "
                "kernels (a loop over time), with no skip, gate or softplus, operands in its own layout",
                partial(_transformers_scan, make),
                _channels_last,
            ),
            Contestant(
                MAMBAPY,
                "`mambapy.mamba.MambaBlock.selective_scan` (its parallel scan), with a skip of zero",
                partial(_mambapy_scan, make),
                _channel_heads,
            ),
        ),
        targets=(
            Target(side=TRANSFORMERS, quantity="ratio", at_least=14),
            Target(side=MAMBAPY, quantity="ratio", at_least=18),
        ),
        oracle=partial(_reference, make),
        error_against=_ORACLE,
        memory=True,
        threads=2,
        environment="mambapy",
    )


def state_space_dual(time: int, heads: int = 24, value: int = 64, state: int = 128) -> Race:
    """Mamba-2's recurrence."""
    make = partial(operands.state_space_dual, time, heads, value, state)
    peer = Contestant(
        TRANSFORMERS,
        "`transformers.models.mamba2.modeling_mamba2.mamba2_chunk_scan` with its chunks of 256",
        partial(_transformers_dual, make),
    )
    shapes = f"batch 1, T = {time}, {heads} heads of {value}, one group of state {state}"
    return _core("core-mamba2", "Mamba-2's recurrence, forward", shapes, make, (peer,))


def gated_delta(time: int, heads: int = 16, width: int = 128) -> Race:
    """Gated DeltaNet's recurrence."""
    make = partial(operands.gated_delta, time, heads, width)
    peer = Contestant(
        TRANSFORMERS,
        "`transformers.models.qwen3_next.modeling_qwen3_next.torch_chunk_gated_delta_rule` with its chunks of 64",
        partial(_transformers_delta, make),
        _first,
    )
    shapes = f"batch 1, T = {time}, {heads} heads, K = V = {width}"
    return _core("core-gated-delta", "Gated DeltaNet's recurrence, forward", shapes, make, (peer,))


def generalised_delta(time: int, heads: int = 12, width: int = 64) -> Race:
    """RWKV-7's recurrence."""
    make = partial(operands.generalised_delta, time, heads, width)
    module = "fla.ops.generalized_delta_rule.dplr.naive"
    chunks = Contestant(
        FLA, f"`{module}.dplr_chunkwise`, chunks of 32", partial(_fla_dplr, make, "dplr_chunkwise"), _heads_first
    )
    loop = Contestant(
        FLA_LOOP, f"`{module}.dplr_recurrence`", partial(_fla_dplr, make, "dplr_recurrence"), _heads_first
    )
    shapes = f"batch 1, T = {time}, {heads} heads, K = V = {width}"
    return _core("core-rwkv7", "RWKV-7's recurrence, forward", shapes, make, (chunks, loop), "fla")


def gated_linear(time: int, heads: int = 4, key: int = 128, value: int = 256) -> Race:
    """GLA's recurrence."""
    make = partial(operands.gated_linear, time, heads, key, value)
    peer = Contestant(
        FLA_LOOP,
        "`fla.ops.gla.naive.naive_recurrent_gla`, the one path fla has for it without a GPU",
        partial(_fla_gla, make),
        _first,
    )
    shapes = f"batch 1, T = {time}, {heads} heads, K = {key}, V = {value}"
    return _core("core-gla", "GLA's recurrence, forward", shapes, make, (peer,), "fla")


def _core(
    name: str, title: str, shapes: str, make: Make, others: tuple[Contestant, ...], environment: str | None = None
) -> Race:
    return Race(
        name=name,
        title=title,
        shapes=shapes,
        contestants=(_ours(make), *others),
        targets=tuple(Target(side=other.name, quantity="ratio", at_least=3) for other in others),
        oracle=partial(_reference, make),
        error_against=_ORACLE,
        memory=True,
        threads=2,
        environment=environment,
    )


def _ours(make: Make) -> Contestant:
    def build() -> Call:
        from workbench import kernels

        inputs = make()
        return lambda: kernels.forward(inputs.form())[0]

    return Contestant(
        OURS, "`workbench.kernels.forward(form)`, outputs and final state, the backend `auto` picks", build
    )


def _reference(make: Make) -> Any:
    import torch

    from workbench import kernels

    return kernels.forward(make().to(torch.float64).form(), backend="reference")[0]


def _first(result: Any) -> Any:
    return result[0]


def _channel_heads(result: Any) -> Any:
    return result[..., None]


def _channels_last(result: Any) -> Any:
    return result.transpose(1, 2)[..., None]


def _heads_first(result: Any) -> Any:
    return result[0].transpose(1, 2)


def _transformers_scan(make: Make) -> Call:
    from transformers.models.mamba.modeling_mamba import mamba_selective_scan

    own = make()
    x, dt, B, C = (part.transpose(1, 2).contiguous() for part in (own.x, own.dt, own.B, own.C))
    return lambda: mamba_selective_scan(x, dt, own.A, B, C)


def _mambapy_scan(make: Make) -> Call:
    import torch

    mamba = peers.load("mambapy.mamba", "mambapy's parallel scan")
    own = make()
    channels, state = own.A.shape
    block = mamba.MambaBlock(mamba.MambaConfig(d_model=max(1, channels // 2), n_layers=1, d_state=state))
    skip = torch.zeros(channels)
    return lambda: block.selective_scan(own.x, own.dt, own.A, own.B, own.C, skip)


def _transformers_dual(make: Make) -> Call:
    from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan

    own = make()
    return lambda: mamba2_chunk_scan(own.x, own.dt, own.A, own.B, own.C, 256)


def _transformers_delta(make: Make) -> Call:
    from transformers.models.qwen3_next.modeling_qwen3_next import torch_chunk_gated_delta_rule

    own = make()
    return lambda: torch_chunk_gated_delta_rule(own.q, own.k, own.v, own.log_decay, own.beta)


def _fla_dplr(make: Make, function: str) -> Call:
    naive = peers.load("fla.ops.generalized_delta_rule.dplr.naive", "fla's RWKV-7 without a GPU")
    own = make()
    # It divides the queries by the root of their width, which RWKV-7 does not.
    q = own.r * own.r.shape[-1] ** 0.5
    parts = (q, own.k, own.v, -own.direction, own.direction * own.rate, own.log_decay)
    heads_first = [part.transpose(1, 2).contiguous() for part in parts]
    return lambda: getattr(naive, function)(*heads_first)


def _fla_gla(make: Make) -> Call:
    naive = peers.load("fla.ops.gla.naive", "fla's GLA without a GPU")
    own = make()
    return lambda: naive.naive_recurrent_gla(own.q, own.k, own.v, own.log_decay)
