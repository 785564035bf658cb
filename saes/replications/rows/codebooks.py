"""Rows about a model that goes on with a few codes out of a book."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

import workbench
from workbench.model import HookedModel
from workbench.probes.replications import Outcome, replication
from workbench.saes.codebook import Bottleneck, Codebook, train_codebook
from workbench.saes.replications.text import written
from workbench.tasks import bootstrap_mean

HOOK = "blocks.1.hook_resid_post"
CODES, KEPT, SWITCHED = 512, 8, 16


@replication(
    "codebook-features",
    section="Changing a model",
    paper="Codebook Features: Sparse and Discrete Interpretability for Neural Networks (Tamkin et al. 2023)",
    published="a discrete bottleneck at a hook keeps most of the loss, and switching a code on steers the text",
    ask='book = train_codebook(model, text, "blocks.1.hook_resid_post", 512, 8); Bottleneck(book, on=[code])',
)
def codebook_features() -> Outcome:
    """Eight of 512 codes a token, trained for the model as it is, which the paper trains on as well.

    The shape, on both members: the bottleneck costs less than half of what the mean vector in its place costs; and a
    code that is switched on at every token moves the next token towards what comes where the code is chosen by itself
    (16 codes at random of those that 1 to 10 % of the tokens have; interval over codes), more than another of them
    does.
    """
    numbers: dict[str, float] = {}
    said = []
    agrees = True
    for name in ("attention", "mamba"):
        model = workbench.load(f"zoo:{name}", check=False)
        rows = written(model, 240, 128)
        training, held_out = rows[:192], rows[192:]
        book = train_codebook(model, training, HOOK, CODES, KEPT, batch=1024, steps=200, progress=False)
        clean, coded, without = _losses(model, book, training, held_out)
        own, other = _switching(model, book, training[:48], held_out[:16])
        kept = 1 - (coded - clean) / (without - clean)
        toward, ahead = bootstrap_mean(own), bootstrap_mean(own - other)
        numbers |= {
            f"{name}: loss": clean,
            f"{name}: loss with the bottleneck": coded,
            f"{name}: loss with the mean vector": without,
            f"{name}: share kept": kept,
            f"{name}: log-odds towards the code's own tokens": toward.mean,
            f"{name}: log-odds, low": toward.low,
            f"{name}: log-odds of another code": float(other.mean()),
            f"{name}: difference of the two, low": ahead.low,
        }
        agrees &= kept > 0.5 and toward.low > 0 and ahead.low > 0
        said.append(
            f"{name}: loss {clean:.2f}, {coded:.2f} with the bottleneck, {without:.2f} with the mean vector; a code "
            f"switched on moves log-odds towards its tokens by {toward.mean:.2f} (another code {other.mean():.2f})"
        )
    return Outcome("; ".join(said) + ".", agrees, numbers)


@torch.no_grad()
def _losses(
    model: HookedModel, book: Codebook, training: Int[Tensor, "rows time"], rows: Int[Tensor, "others time"]
) -> tuple[float, float, float]:
    """Nats a token: of the model, with the bottleneck, and with the mean vector of the training text."""
    mean = model.run_with_cache(training[:48], names_filter=HOOK)[1][HOOK].mean((0, 1))
    clean = float(model(rows, return_type="loss"))
    with Bottleneck(book).applied(model):
        coded = float(model(rows, return_type="loss"))
    constant = (HOOK, lambda vectors, hook: mean.expand_as(vectors))
    without = float(model.run_with_hooks(rows, return_type="loss", fwd_hooks=[constant]))
    return clean, coded, without


@torch.no_grad()
def _switching(
    model: HookedModel, book: Codebook, training: Int[Tensor, "rows time"], rows: Int[Tensor, "others time"]
) -> tuple[Float[Tensor, " codes"], Float[Tensor, " codes"]]:
    """By how much codes move the next token towards what follows where they are chosen; and another code instead.

    Both are sums over the vocabulary of (probability after the code - mean probability) times the change of the mean
    log-probability.
    """
    vectors = model.run_with_cache(training, names_filter=HOOK)[1][HOOK]
    has = torch.zeros(*training.shape, CODES, dtype=torch.bool).scatter_(-1, book.chosen(vectors), True).flatten(0, 1)
    share = has.float().mean(0)
    usual = ((share > 0.01) & (share < 0.1)).nonzero()[:, 0]
    codes = usual[torch.randperm(len(usual), generator=torch.Generator().manual_seed(0))[:SWITCHED]]
    with Bottleneck(book).applied(model):
        after = model(training).softmax(-1).flatten(0, 1)
        plain = model(rows).log_softmax(-1).mean((0, 1))
    towards = torch.stack([after[has[:, code]].mean(0) - after.mean(0) for code in codes])
    moved = []
    for code in codes.tolist():
        with Bottleneck(book, on=[code]).applied(model):
            moved.append(model(rows).log_softmax(-1).mean((0, 1)) - plain)
    change = torch.stack(moved)
    return (towards * change).sum(-1), (towards * change.roll(1, 0)).sum(-1)
