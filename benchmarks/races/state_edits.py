"""A forward pass with the recurrent state edited after one step, the edit carried on by the recurrence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import models, peers, transformer_lens_models
from benchmarks.race import CannotMeasure, Contestant, Race
from benchmarks.records import Target

OURS, LENS = "workbench", "TransformerLens TransformerBridge, eager scan"
UNEDITED, LINEAR = "workbench, without the edit", "the linear layers alone"
NEEDED = "5.9."


@dataclass(frozen=True)
class Subject:
    """A stock model of one layer, and where TransformerLens keeps its writes."""

    key: str
    label: str
    build: Callable[..., Any]
    write: str
    """Axes of TransformerLens' hook_ssm_write after the batch: time, head, key, value."""

    def edit(self, stock: Any) -> Any:
        """What is added to the state, ``[heads, key, value]``."""
        import torch

        mixer = stock.backbone.layers[0].mixer
        heads = getattr(mixer, "num_heads", mixer.intermediate_size)
        shape = heads, mixer.ssm_state_size, mixer.intermediate_size // heads
        return torch.randn(shape, generator=torch.Generator().manual_seed(1))


MAMBA = Subject("mamba", "Mamba-1", models.mamba, "htk")
MAMBA2 = Subject("mamba2", "Mamba-2", models.mamba2, "thvk")


def races() -> tuple[Race, ...]:
    """Both Mambas."""
    return race(MAMBA, 1024), race(MAMBA2, 1024)


def require_state_space_hooks() -> None:
    """Refuse versions of transformers whose mixers compute past TransformerLens' hooks.

    Raises:
        CannotMeasure: this is one.
    """
    version = peers.load("transformers", "TransformerLens").__version__
    if not version.startswith(NEEDED):
        raise CannotMeasure(f"TransformerLens' state-space hooks need transformers {NEEDED}*; this is {version}.")


def race(subject: Subject, time: int, width: int = 768) -> Race:
    """The forward pass of one layer with one edit in the middle."""
    at = time // 2

    def tokens() -> Any:
        return models.tokens(time, models.MAMBA_VOCABULARY)

    def ours() -> Callable[[], Any]:
        import workbench

        stock = subject.build(width=width)
        added, model, inputs = subject.edit(stock), workbench.load(stock), tokens()
        hook = workbench.at_steps(lambda state, hook: state + added, at)
        return lambda: model.run_with_hooks(inputs, fwd_hooks=[("blocks.0.mixer.hook_state", hook)])

    def lens() -> Callable[[], Any]:
        import torch

        require_state_space_hooks()
        stock = subject.build(width=width)
        # Mamba-1's writes have no value axis: its heads are single channels.
        added, inputs = torch.einsum(f"hkv->{subject.write.replace('t', '')}", subject.edit(stock)), tokens()
        bridge = transformer_lens_models.bridged_mamba(stock, eager_scan=True)
        place = (slice(None),) * (1 + subject.write.index("t")) + (at,)

        def hook(writes: Any, hook: Any) -> Any:
            writes[place] += added
            return writes

        hooks = [("blocks.0.mixer.hook_ssm_write", hook)]
        # With a cache, which transformers makes by default, it runs past its own scan and calls no hook.
        return lambda: bridge.run_with_hooks(inputs, fwd_hooks=hooks, use_cache=False)

    def unedited() -> Callable[[], Any]:
        import workbench

        model, inputs = workbench.load(subject.build(width=width)), tokens()
        return lambda: model(inputs)

    def linear() -> Callable[[], Any]:
        calls = _linear_layers(subject.build(width=width), tokens())
        return lambda: [layer(x) for layer, x in calls]

    def oracle() -> Any:
        import torch

        import workbench

        stock = subject.build(torch.float64, width=width)
        added, model = subject.edit(stock).double(), workbench.load(stock)
        with workbench.kernels.use_backend("reference"):
            hooks = [("blocks.0.mixer.hook_state", lambda state, hook: state + added if hook.step == at else None)]
            return model.run_with_hooks(tokens(), fwd_hooks=hooks)

    return Race(
        name=f"state-edit-{subject.key}",
        title=f"Forward pass with the state edited at one step, {subject.label}",
        shapes=(
            f"batch 1, T = {time}; one layer of {subject.key}-130m's shapes (width {width}), vocabulary "
            f"{models.MAMBA_VOCABULARY:,}, random weights; a fixed tensor is added to the state after step {at}"
        ),
        contestants=(
            Contestant(
                OURS,
                '`model.run_with_hooks(tokens, fwd_hooks=[("blocks.0.mixer.hook_state", at_steps(edit, step))])`',
                ours,
            ),
            Contestant(
                LENS,
                "`TransformerBridge.run_with_hooks(..., use_cache=False)` with `eager_scan = True`, the same tensor "
                "added to `hook_ssm_write` at that step, which its loop then carries on",
                lens,
            ),
            Contestant(UNEDITED, "`model(tokens)`", unedited, answer=None),
            Contestant(
                LINEAR,
                "every `nn.Linear` of the stock model, the unembedding included, on the inputs it gets in that pass: "
                "what both sides spend before they come to the recurrence",
                linear,
                answer=None,
            ),
        ),
        budget=40.0,
        warm_up=1,
        targets=(Target(side=LENS, quantity="ratio", at_least=20),),
        shared=LINEAR,
        oracle=oracle,
        error_against="our sequential reference in float64, inside the stock model in float64",
        notes="Under `torch.no_grad()`, logits.",
        memory=True,
        threads=2,
        environment="ssm-hooks",
    )


def _linear_layers(stock: Any, tokens: Any) -> list[tuple[Any, Any]]:
    """The linear layers of a model, each with the input it gets."""
    import torch

    calls: list[tuple[Any, Any]] = []
    handles = [
        module.register_forward_pre_hook(lambda layer, inputs: calls.append((layer, inputs[0])))
        for module in stock.modules()
        if isinstance(module, torch.nn.Linear)
    ]
    with torch.no_grad():
        stock(tokens, use_cache=False)
    for handle in handles:
        handle.remove()
    return calls
