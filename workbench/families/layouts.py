"""Where the parts of a decoder are, found by watching one short forward pass of the stock model.

Architectures name and order their parts differently (norms before or after, parallel or sequential blocks, several
mixers in a block or none, a feed-forward layer that is no module of its own). Instead of a table of names, a traced
forward pass (`workbench.families.tracing`) tells the parts' roles (`workbench.families.roles`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.errors import LoadError, UnsupportedFamilyError
from workbench.families.base import BlockLayout, MixerAdapter, adapter_class, families
from workbench.families.roles import block_layout
from workbench.families.stacks import find_stacks, stack_blocks
from workbench.families.tracing import MixingProbe, Trace, Watching, close
from workbench.stock import StockCall

TRACE_BATCH, TRACE_TIME = 2, 5


@dataclass(frozen=True)
class ModelLayout:
    """Where a model's parts are.

    Attributes:
        blocks: one entry a residual block, first layer first.
        embed: token embedding.
        pos_embed: learned position embedding, or None.
        final_norm: the norm between the last block and the unembedding, or None.
        d_model: width of the residual stream.
    """

    blocks: list[BlockLayout]
    embed: nn.Embedding
    pos_embed: nn.Module | None
    final_norm: nn.Module | None
    d_model: int

    @property
    def adapters(self) -> list[MixerAdapter]:
        """The mixer that each layer's number alone means, first layer first; a `NoMixer` where a block has none."""
        return [block.adapter for block in self.blocks]

    @property
    def every_adapter(self) -> list[MixerAdapter]:
        """All mixers, each knowing its `layer` and `index`: several of a block with several, none of one without."""
        return [mixer.adapter for block in self.blocks for mixer in block.mixers]


def find_layout(model: nn.Module, call: StockCall) -> ModelLayout:
    """Find the parts of a decoder. The model must be in eval mode and not hooked.

    Raises:
        UnsupportedFamilyError: no list of blocks mixes tokens with known mixers, or a block does with an unknown one.
    """
    blocks, mixers = find_blocks(model)
    embed = token_embedding(model)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, embed.num_embeddings, (TRACE_BATCH, TRACE_TIME), generator=generator)
    tokens = tokens.to(embed.weight.device)
    stacks = [] if blocks else find_stacks(model)
    with torch.no_grad(), Watching(model, blocks or stacks, mixers or [[] for _ in stacks]) as watched:
        call(tokens)
    traces, outside = watched.traces, watched.outside
    if stacks:
        blocks, traces = _in_call_order(model, stacks, watched)
        layouts = stack_blocks(stack for stack in blocks if isinstance(stack, nn.RNNBase))
    else:
        layouts = [
            block_layout(block, inside, layer, trace)
            for layer, (block, inside, trace) in enumerate(zip(blocks, mixers, traces, strict=True))
        ]
    _check_mixing(model, layouts, call, tokens)
    first, last = traces[0].read, traces[-1].written
    assert first is not None and last is not None  # block_layout has refused blocks that were not called
    before = list(itertools.takewhile(lambda part: part.module is not blocks[0], outside))
    after = outside[len(outside) - 1 - [part.module for part in reversed(outside)].index(blocks[-1]) :]
    return ModelLayout(
        blocks=layouts,
        embed=embed,
        pos_embed=next(
            (p.module for p in before if isinstance(p.module, nn.Embedding) and p.module is not embed), None
        ),
        final_norm=next((p.module for p in after[1:-1] if close(p.read, last)), None),
        d_model=first.shape[-1],
    )


def _in_call_order(
    model: nn.Module, stacks: list[nn.RNNBase], watched: Watching
) -> tuple[list[nn.Module], list[Trace]]:
    """The stacks that the model calls, in order, and their traces."""
    traces = dict(zip(stacks, watched.traces, strict=True))
    order: list[nn.Module] = list(dict.fromkeys(part.module for part in watched.outside if part.module in stacks))
    if not order:
        raise UnsupportedFamilyError(
            f"{type(model).__name__} is not supported: it calls its {type(stacks[0]).__name__} not at all, or with "
            "packed sequences; padded batches are needed."
        )
    return order, [traces[stack] for stack in order if isinstance(stack, nn.RNNBase)]


def _check_mixing(model: nn.Module, layouts: list[BlockLayout], call: StockCall, tokens: Tensor) -> None:
    """Refuse blocks that mix tokens although no adapter serves anything in them."""
    unmixed = [layout.block for layout in layouts if not layout.mixers]
    if not unmixed:
        return
    with torch.no_grad(), MixingProbe(unmixed) as probe:
        call(tokens)
    for layout in layouts:
        if layout.block in probe.mixing:
            raise UnsupportedFamilyError(
                f"{type(model).__name__} is not supported: its block {layout.layer} ({type(layout.block).__name__}) "
                f"mixes tokens with no known token mixer; supported families: {', '.join(families())}."
            )


def find_blocks(model: nn.Module) -> tuple[list[nn.Module], list[list[nn.Module]]]:
    """The residual blocks and the mixers in each: one as a rule, none in an MLP block, several in some hybrids.

    There are no blocks at all in a model whose depth is a stack of recurrent layers (`workbench.families.stacks`).

    Raises:
        UnsupportedFamilyError: no list of modules holds a known mixer, and there is no stack.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) > 0]
    found = [(list(modules), [list(dict.fromkeys(_mixers(block))) for block in modules]) for modules in lists]
    found = [(blocks, mixers) for blocks, mixers in found if any(mixers)]
    if found:
        # A list of stages, each a list of blocks, holds fewer modules with mixers than the blocks of a long stage.
        return max(found, key=lambda pair: (sum(map(bool, pair[1])), all(len(m) == 1 for m in pair[1]), len(pair[0])))
    if find_stacks(model):
        return [], []
    inside = f" ({', '.join(sorted({type(m[0]).__name__ for m in lists}))})" if lists else ""
    raise UnsupportedFamilyError(
        f"{type(model).__name__} is not supported: no adapter serves the mixers in its blocks{inside}; "
        f"supported families: {', '.join(families())}."
    )


def _mixers(block: nn.Module) -> Iterator[nn.Module]:
    for child in block.children():
        if adapter_class(child) is not None:
            yield child
        else:
            yield from _mixers(child)


def token_embedding(model: nn.Module) -> nn.Embedding:
    """The token embedding. Raises LoadError for a module without one."""
    getter = getattr(model, "get_input_embeddings", None)
    embed = getter() if getter is not None else getattr(model, "embed", None)
    if not isinstance(embed, nn.Embedding):
        embed = next((module for module in model.modules() if isinstance(module, nn.Embedding)), None)
    if embed is None:
        raise LoadError(f"{type(model).__name__} has no token embedding.")
    return embed
