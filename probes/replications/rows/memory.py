"""Rows about what models remember, for how long, and in how many bytes."""

from __future__ import annotations

import random
from itertools import islice

import torch
from jaxtyping import Int
from torch import Tensor

import workbench
from workbench.model import HookedModel
from workbench.probes import memory
from workbench.probes.replications.registry import Outcome, replication
from workbench.tasks.filler import sentences
from workbench.zoo import ZooModel

TRAINED = 256  # tokens of context that the zoo was trained at
TAIL = (64, 80, 96, 112, 128, 160, 192, 224)  # tokens: the theorem is about the limit


def _text(model: HookedModel, length: int, rows: int) -> Int[Tensor, "rows length"]:
    """Windows of sentences put together at random, alike at every position."""
    words = " ".join(islice(sentences("varied", random.Random(0)), 40 + rows * length // 8))
    return memory.text_windows(model, words, length, rows)


@replication(
    "past-the-trained-length",
    section="Reading a model",
    paper="Stuffed Mamba: Oversized States Lead to the Inability to Forget (Chen et al. 2024)",
    published="past the trained length Mamba-2's loss rises and a few channels of its state explode",
    ask="loss_by_position(model, tokens); state_norms(model, tokens, positions=[255, 2047])",
)
def past_the_trained_length() -> Outcome:
    """Loss and state norm of members trained at 256 tokens, eight times as far."""
    numbers: dict[str, float] = {}
    shown = []
    risen: dict[str, bool] = {}
    for name in ("mamba2", "mamba", "gated_delta", "attention"):
        model = workbench.load(f"zoo:{name}", check=False)
        tokens = _text(model, 8 * TRAINED, 6)
        loss = memory.loss_by_position(model, tokens, width=TRAINED // 2)
        within, beyond = loss[loss["stop"] == TRAINED].iloc[0], loss[loss["start"] >= 4 * TRAINED]
        risen[name] = float(beyond["low"].min()) > float(within["high"])
        norms = memory.state_norms(model, tokens[:2], [TRAINED - 1, 8 * TRAINED - 1])
        states = norms[norms["asked"] == "state"].pivot(index="layer", columns="position", values="norm")
        growth = float((states[8 * TRAINED - 1] / states[TRAINED - 1]).max()) if len(states) else float("nan")
        numbers |= {
            f"{name}: loss within": float(within["loss"]),
            f"{name}: loss beyond": float(beyond["loss"].mean()),
            f"{name}: largest growth of a state's norm": growth,
        }
        state = f", states grow by {growth:.2f} at most" if len(states) else ", no state"
        shown.append(f"{name}: {within['loss']:.2f} to {beyond['loss'].mean():.2f} nats{state}")
    found = f"Loss at positions 128 to 255 and past 1024: {'; '.join(shown)}."
    return Outcome(found, risen["mamba2"], numbers)


@replication(
    "memory-fidelity",
    section="Reading a model",
    paper="MemMamba: Rethinking Memory Patterns in State Space Model (Wang et al. 2025)",
    published="Mamba's memory of a token fades with distance along the text and with depth across layers",
    ask='memory_fidelity(model, lags=(0, 1, 4, 16, 32), at="state")',
)
def fidelity() -> Outcome:
    """A linear reader of the states after random tokens, a layer and lag."""
    model = workbench.load("zoo:mamba", check=False)
    table = memory.memory_fidelity(model, lags=(0, 1, 4, 16, 32), at="state", seed=2)
    grid = table.pivot(index="layer", columns="lag", values="accuracy")
    low, high = (table.pivot(index="layer", columns="lag", values=limit) for limit in ("low", "high"))
    chance = float(table["chance"].mean())
    along_time = bool((high[32] < low[0]).all())
    first, last = grid.iloc[0], grid.iloc[-1]
    along_depth = float(last.mean()) < float(first.mean())
    found = (
        f"zoo:mamba, share of tokens that its states name 0, 1, 4 and 32 tokens later: layer 0 {first[0]:.0%}, "
        f"{first[1]:.0%}, {first[4]:.0%}, {first[32]:.0%}; last layer {last[0]:.0%}, {last[1]:.0%}, {last[4]:.0%}, "
        f"{last[32]:.0%}; chance {chance:.0%}."
    )
    numbers = {f"layer {layer}, lag {lag}": float(grid.loc[layer, lag]) for layer in grid.index for lag in grid.columns}
    return Outcome(found, along_time and along_depth, numbers)


@replication(
    "memory-function",
    section="Reading a model",
    paper="Inverse Approximation Theory for Nonlinear Recurrent Neural Networks (Wang, Li and Li 2023)",
    published="what a nonlinear RNN learns stably has a memory function that decays exponentially",
    ask="fit_decay(lags, memory_function(model, tokens, layer=0)['value'])",
)
def memory_functions() -> Outcome:
    """The tail of the first layer's memory function: of cells, and of softmax attention, which need not decay so."""
    numbers: dict[str, float] = {}
    kinds: dict[str, str] = {}
    said = []
    for name in ("lstm", "gru", "attention"):
        model = workbench.load(f"zoo:{name}", check=False)
        table = memory.memory_function(model, _text(model, TRAINED, 8), layer=0, lags=TAIL, probes=16)
        values = torch.tensor(table["value"].to_numpy(dtype=float))
        fit = memory.fit_decay(torch.tensor([float(lag) for lag in TAIL]), values)
        kinds[name] = fit.better
        numbers |= {
            f"{name}: half-life": fit.half_life,
            f"{name}: exponential error": fit.exponential_error,
            f"{name}: exponent": fit.exponent,
            f"{name}: power error": fit.power_error,
        }
        said.append(
            f"{name}: {fit.better} (residuals {fit.exponential_error:.2f} exponential, {fit.power_error:.2f} power, "
            f"half-life {fit.half_life:.1f} tokens)"
        )
    agrees = kinds["lstm"] == kinds["gru"] == "exponential"
    return Outcome(
        f"Memory function of layer 0, {TAIL[0]} to {TAIL[-1]} tokens back: {'; '.join(said)}.", agrees, numbers
    )


@replication(
    "long-timescales",
    section="Reading a model",
    paper="Emergent mechanisms for long timescales depend on training curriculum (Khajehabdollahi et al. 2024)",
    published="units of trained recurrent networks have longer timescales than they began with",
    ask='timescales(model, tokens, "blocks.0.mixer.hook_state")',
)
def long_timescales() -> Outcome:
    """Time constants of an LSTM's cells by autocorrelation, trained and as initialised."""
    trained = workbench.load("zoo:lstm", check=False)
    tokens = _text(trained, TRAINED, 8)
    config = trained.wrapped.config
    torch.manual_seed(0)
    untrained = HookedModel(ZooModel(config))  # type: ignore[arg-type]
    numbers: dict[str, float] = {}
    for name, model in (("trained", trained), ("untrained", untrained)):
        for layer in range(model.cfg.n_layers):
            table = memory.timescales(model, tokens, f"blocks.{layer}.mixer.hook_state", lags=64, skip=32)
            constants = table["time_constant"]
            numbers[f"{name}, layer {layer}: median"] = float(constants.median())
            numbers[f"{name}, layer {layer}: slowest tenth"] = float(constants.quantile(0.9))
    slowest = {
        name: max(value for key, value in numbers.items() if key.startswith(f"{name},") and key.endswith("tenth"))
        for name in ("trained", "untrained")
    }
    found = (
        f"Time constants of zoo:lstm's cells, the slowest tenth of the slowest layer: {slowest['trained']:.1f} tokens "
        f"and more, {slowest['untrained']:.1f} before training."
    )
    return Outcome(found, slowest["trained"] > slowest["untrained"], numbers)


@replication(
    "mixers-on-one-page",
    section="Reading a model",
    paper="Understanding the Differences in Foundation Models (Sieber et al. 2024)",
    published="attention, SSMs and RNNs are one system (transition, input, output, skip) that differ in their state",
    ask="mixer_systems(model, tokens)",
)
def one_page() -> Outcome:
    """Spectral radius and bytes of state of every kind of mixer in the zoo."""
    numbers: dict[str, float] = {}
    said = []
    for name in ("attention", "mamba", "mamba2", "gated_delta", "gla", "retnet", "rwkv7", "rg_lru"):
        model = workbench.load(f"zoo:{name}", check=False)
        page = memory.mixer_systems(model, _text(model, 128, 1), lengths=(256, 4096))
        short, long = (int(page[f"bytes_{length}"].sum()) for length in (256, 4096))
        radius = float(page["radius"].max())
        numbers |= {f"{name}: radius": radius, f"{name}: bytes at 256": short, f"{name}: bytes at 4096": long}
        said.append(f"{name} {radius:.3f}, {short / 1024:.0f} and {long / 1024:.0f} KiB")
    recurrent = [name.split(":")[0] for name in numbers if name.endswith("radius") and not name.startswith("attention")]
    agrees = numbers["attention: bytes at 4096"] == 16 * numbers["attention: bytes at 256"] and all(
        numbers[f"{name}: radius"] <= 1 + 1e-9 and numbers[f"{name}: bytes at 256"] == numbers[f"{name}: bytes at 4096"]
        for name in recurrent
    )
    return Outcome(f"Largest spectral radius, state at 256 and 4096 tokens: {'; '.join(said)}.", agrees, numbers)


@replication(
    "verbatim-memory",
    section="Reading a model",
    paper="Characterizing Verbatim Short-Term Memory in Neural Language Models (Armeni, Honey and Linzen 2022)",
    published="a Transformer retrieves a repeated list of nouns in its order; an LSTM is helped little, order or not",
    ask="verbatim_memory(model, items=(5,), gaps=(0, 30))",
)
def verbatim() -> Outcome:
    """Surprisal of the second list over the first; the same nouns and text in every kind of second list.

    The shape: the order helps attention beyond doubt, and the same list costs an LSTM more than it does attention.
    """
    numbers: dict[str, float] = {}
    limits: dict[tuple[str, str], tuple[float, float]] = {}
    said = []
    for name in ("attention", "gated_delta", "lstm"):
        model = workbench.load(f"zoo:{name}", check=False)
        table = memory.verbatim_memory(model, items=(5,), gaps=(0, 30), batch=24, seed=1)
        for gap in (0, 30):
            rows = table[table["gap"] == gap].set_index("second")["surprisal"]
            numbers |= {f"{name}, gap {gap}, {kind}": float(rows[kind]) for kind in ("same", "permuted", "new")}
        near = {kind: numbers[f"{name}, gap 0, {kind}"] for kind in ("same", "permuted", "new")}
        said.append(f"{name} {near['same']:.2f}, {near['permuted']:.2f}, {near['new']:.2f}")
        for row in table[table["gap"] == 0].to_dict("records"):
            limits[name, row["second"]] = (row["low"], row["high"])
    ordered = limits["attention", "same"][1] < limits["attention", "permuted"][0]
    agrees = ordered and limits["lstm", "same"][0] > limits["attention", "same"][1]
    found = f"Surprisal of the second list over the first, same, permuted and new: {'; '.join(said)}."
    return Outcome(found, agrees, numbers)
