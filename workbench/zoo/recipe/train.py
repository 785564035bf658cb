"""Train one member: ``python -m workbench.zoo.recipe.train --member mamba --out runs/mamba``.

Started again with the same ``--out``, a run goes on from its newest checkpoint as if it had not stopped; with
another ``--steps``, on the schedule of that total.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn import functional as F

from workbench.errors import DivergenceError
from workbench.zoo import ZooConfig, ZooModel
from workbench.zoo.recipe.checkpoint import load_checkpoint, save_checkpoint
from workbench.zoo.recipe.data import Data, load_data
from workbench.zoo.recipe.evaluate import copy_accuracy, text_loss
from workbench.zoo.recipe.mixture import IGNORE, Mixture
from workbench.zoo.recipe.muon import Muon
from workbench.zoo.recipe.settings import MEMBERS, Settings


def build_model(member: str, settings: Settings) -> ZooModel:
    """The untrained member, its weights drawn from ``settings.seed``."""
    torch.manual_seed(settings.seed)
    return ZooModel(
        ZooConfig(
            **{"mixer": member, **MEMBERS[member]},
            vocab_size=settings.vocab_size,
            context=settings.context,
        )
    )


def build_optimisers(model: ZooModel, settings: Settings) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' weight matrices, AdamW for everything else; no weight decay."""
    matrices = [m.weight for m in model.blocks.modules() if isinstance(m, torch.nn.Linear)]
    taken = {id(p) for p in matrices} | {id(model.embed.weight)}
    rest = [p for p in model.parameters() if id(p) not in taken]
    adam = torch.optim.AdamW(
        [{"params": rest, "lr": settings.adam_lr}, {"params": [model.embed.weight], "lr": settings.embed_lr}],
        betas=(0.9, 0.95),
        weight_decay=0.0,
        fused=True,
    )
    optimisers = [Muon(matrices, lr=settings.muon_lr), adam]
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return optimisers


def train_step(
    model: ZooModel, optimisers: list[torch.optim.Optimizer], mixture: Mixture, settings: Settings, step: int
) -> float:
    """One update; returns the mean loss in nats over the tokens that carry any.

    Raises:
        DivergenceError: the loss or a gradient is not finite; no weight was changed.
    """
    inputs, targets = mixture.batch(step, settings.steps, settings.batch)
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
        logits = model(inputs).logits
    loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
    if not norm.isfinite():
        raise DivergenceError(
            f"Step {step + 1}: the gradient's norm is {norm.item()} and the loss {loss.item()}. No weight was changed; "
            "the last checkpoint is of an earlier step."
        )
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * settings.schedule.at("rate", step, settings.steps)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return loss.item()


def record_part(out: Path, step: int, settings: Settings) -> None:
    """Note in ``parts.json`` from which step on which total of steps applied: a run may be resumed with another."""
    path = out / "parts.json"
    parts = json.loads(path.read_text()) if path.exists() else []
    parts = [part for part in parts if part["from"] < step]
    if not parts or parts[-1]["steps"] != settings.steps:
        parts.append({"from": step, "steps": settings.steps})
    path.write_text(json.dumps(parts) + "\n")


def train(
    member: str,
    settings: Settings,
    data: Data,
    out: Path,
    stop_after: int | None = None,
    report: Callable[[dict[str, Any]], None] = lambda line: None,
    every: int = 250,
    keep_every: int = 1000,
) -> ZooModel:
    """Train to ``settings.steps`` (or ``stop_after``), checkpointing and reporting every ``every`` steps."""
    torch.set_flush_denormal(True)
    out.mkdir(parents=True, exist_ok=True)
    model = build_model(member, settings)
    optimisers = build_optimisers(model, settings)
    step = load_checkpoint(out, model, optimisers)
    (out / "config.json").write_text(model.config.to_json())
    (out / "settings.json").write_text(settings.to_json())
    record_part(out, step, settings)
    data.tokenizer.save(str(out / "tokenizer.json"))
    mixture = Mixture(data.text, settings.vocab_size, model.config.bos_token_id, settings.schedule, settings.seed)
    last = settings.steps if stop_after is None else min(stop_after, settings.steps)
    losses: list[float] = []
    since = time.monotonic()
    while step < last:
        model.train()
        losses.append(train_step(model, optimisers, mixture, settings, step))
        step += 1
        report({"step": step})
        if step % every == 0 or step == last:
            save_checkpoint(out, model, optimisers, step, keep=step % keep_every == 0 or step == settings.steps)
            model.eval()
            nats, bits = text_loss(model, data.tokenizer, data.held_out, windows=16)
            line = {
                "step": step,
                "loss": sum(losses) / len(losses),
                "copy_8": copy_accuracy(model, 8, sequences=32),
                "copy_32": copy_accuracy(model, 32, sequences=32),
                "copy_32_gap": copy_accuracy(model, 32, gap=64, sequences=32),
                "nats": nats,
                "bits_per_byte": bits,
                "seconds": time.monotonic() - since,
            }
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            report(line)
            losses, since = [], time.monotonic()
    return model


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m workbench.zoo.recipe.train", description=__doc__)
    parser.add_argument("--member", required=True, choices=sorted(MEMBERS))
    parser.add_argument("--out", required=True, type=Path, help="folder of checkpoints and the log")
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of *.txt; filled if empty")
    parser.add_argument("--downloads", type=Path, help="folder that may hold the corpus archives already")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stop-after", type=int, help="stop at this step; the schedule is still that of --steps")
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a progress bar")
    for option in fields(Settings):
        if option.type in ("int", "float"):
            convert = int if option.type == "int" else float
            parser.add_argument("--" + option.name.replace("_", "-"), type=convert, default=option.default)
    arguments = vars(parser.parse_args())
    torch.set_num_threads(arguments["threads"])
    given = {f.name: arguments[f.name] for f in fields(Settings) if f.name in arguments}
    settings = replace(Settings(), **given)
    data = load_data(arguments["corpus"], settings.vocab_size, arguments["downloads"])

    def run(report: Callable[[dict[str, Any]], None]) -> None:
        out, stop_after, every = (arguments[name] for name in ("out", "stop_after", "every"))
        try:
            train(arguments["member"], settings, data, out, stop_after, report, every)
        except DivergenceError as error:
            sys.exit(str(error))

    if arguments["json"]:
        run(lambda line: print(json.dumps(line), flush=True) if "loss" in line else None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(arguments["member"], total=arguments["stop_after"] or settings.steps)

        def show(line: dict[str, Any]) -> None:
            progress.update(bar, completed=line["step"])
            if "loss" in line:
                progress.console.print({k: round(v, 4) for k, v in line.items()})

        run(show)


if __name__ == "__main__":
    main()
