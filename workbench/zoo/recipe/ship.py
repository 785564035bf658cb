"""Turn the newest checkpoints into shipped members: ``python -m workbench.zoo.recipe.ship --runs runs``.

Weights are evaluated as they are stored, and the card is written from that evaluation.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from workbench.zoo.config import ZooConfig
from workbench.zoo.loading import WEIGHTS, load_directory, read_weights, write_weights
from workbench.zoo.model import ZooModel
from workbench.zoo.recipe import corpus
from workbench.zoo.recipe.card import misses, write_card
from workbench.zoo.recipe.evaluate import full_report
from workbench.zoo.recipe.settings import MEMBERS, Settings


def ship(member: str, run: Path, held_out: list[str], weights: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Write ``weights/member`` from the newest checkpoint of ``run`` and return its evaluation."""
    target = weights / member
    target.mkdir(parents=True, exist_ok=True)
    model = ZooModel(ZooConfig.from_file(run / "config.json"))
    read_weights(model, run / "checkpoint" / "model.safetensors")
    write_weights(model, target / "model.safetensors", dtype)
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(run / name, target / name)
    model, tokenizer = load_directory(target)
    settings = Settings.from_json((run / "settings.json").read_text())
    steps = json.loads((run / "checkpoint" / "progress.json").read_text())["step"]
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    log = [line for line in log if line["step"] <= steps]
    report = full_report(model, tokenizer, held_out) | {
        "member": member,
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": str(dtype).removeprefix("torch."),
        "steps": steps,
        "tokens": settings.tokens_seen(steps),
        "parts": json.loads((run / "parts.json").read_text()),
        "minutes": _minutes(log, steps),
        "last_loss": log[-1]["loss"],
        "last_loss_steps": log[-1]["step"] - (log[-2]["step"] if len(log) > 1 else 0),
        "config": json.loads(model.config.to_json()),
        "settings": json.loads(settings.to_json()),
    }
    (target / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n")
    (target / "README.md").write_text(write_card(member, report))
    return report


def _minutes(log: list[dict[str, Any]], steps: int) -> float:
    """Training time, scaled up for steps without a line of their own (a run stopped before it wrote one)."""
    starts = [0] + [line["step"] for line in log[:-1]]
    logged: int = sum(min(line["step"] - start, log[0]["step"]) for start, line in zip(starts, log, strict=True))
    minutes: float = sum(line["seconds"] for line in log) / 60
    return minutes * steps / logged


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m workbench.zoo.recipe.ship", description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="folder with one folder a member")
    parser.add_argument("--member", choices=sorted(MEMBERS), action="append", help="default: all that have a run")
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    parser.add_argument("--downloads", type=Path)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    arguments = parser.parse_args()
    _, held_out = corpus.documents(corpus.prepare(arguments.corpus, arguments.downloads))
    for member in arguments.member or sorted(MEMBERS):
        run = arguments.runs / member
        if not (run / "checkpoint").exists():
            continue
        report = ship(member, run, held_out, arguments.weights, getattr(torch, arguments.dtype))
        copied, after = report["copy"]["32"], report["copy_after_gap"]["32"]
        print(f"{member}: step {report['steps']}, copy {copied:.3f}, after a gap {after:.3f}, "
              f"{report['bits_per_byte']:.3f} bits a byte. {' '.join(misses(member, report))}")  # fmt: skip


if __name__ == "__main__":
    main()
