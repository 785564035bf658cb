"""A pass over a text for a feature browser, against SAEDashboard."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks import ROOT, peers
from benchmarks.race import CannotMeasure, Contestant, Race
from benchmarks.records import Target

OURS, PEER = "workbench", "SAEDashboard"
HOOK = "blocks.1.hook_resid_post"
WIDTH, VOCABULARY, LENGTH = 768, 50_257, 128
EDGE = (6, 5)
"""Tokens at the start and the end of a row that the peer does not rank."""
DENSITY = 0.004
"""Share of tokens at which a feature fires, about what published autoencoders have."""


def races() -> tuple[Race, ...]:
    """The residual stream of a GPT-2 of that width."""
    return (race(tokens=32_768, features=2048),)


def race(tokens: int, features: int) -> Race:
    """Every feature of an autoencoder over a text of random tokens."""
    inputs = cache(partial(_inputs, tokens, features))
    return Race(
        name="sae-features",
        title="Features of an autoencoder over a text",
        shapes=f"{tokens} tokens in rows of {LENGTH}, width {WIDTH}, {features} features, {DENSITY:.1%} dense",
        contestants=(
            Contestant(
                OURS,
                "`collect_features(model, sae, tokens, folder)`: all tables on disk, partners that fire together and "
                "neighbours by direction, too",
                partial(_ours, inputs),
            ),
            Contestant(
                PEER,
                "`SaeVisRunner(SaeVisConfig(hook, features, cache_dir=...)).run(sae, model, tokens)` of 0.8.0 with its "
                "defaults, in a process of its own with TransformerLens 2.17 and transformers 4.56; nothing is written",
                partial(_dashboard, inputs, features),
                oracle=partial(_peaks, inputs, EDGE),
            ),
        ),
        targets=(Target(side=PEER, quantity="ratio", at_least=5),),
        oracle=partial(_peaks, inputs),
        error_against="the largest activation of each feature, out of `sae.encode` of the cached stream in float64",
        notes=f"The peer leaves the first {EDGE[0]} and last {EDGE[1]} tokens of every row out of what it ranks, so "
        "its answers are compared with the largest activations of the others. It is given the model's activations on "
        "disk (`cache_dir`), which it would else compute again for every 256 features.",
        budget=1.0,
        least=1,
        most=3,
        warm_up=0,
    )


def _inputs(tokens: int, features: int) -> Path:
    """A folder with model, autoencoder and tokens, the same for both sides; removed when this process ends."""
    import numpy as np
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    import workbench as wb
    from workbench.saes import SaeConfig, SparseAutoencoder, save_sae
    from workbench.saes.autoencoder import weight_shapes

    folder = Path(tempfile.mkdtemp(prefix="workbench-sae-features-"))
    weakref.finalize(race, shutil.rmtree, folder, ignore_errors=True)
    torch.manual_seed(0)
    config: Any = GPT2Config(vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=WIDTH, n_layer=3, n_head=12)
    stock: Any = GPT2LMHeadModel(config).eval()
    stock.save_pretrained(folder)
    ids = torch.randint(3, VOCABULARY, (tokens // LENGTH, LENGTH))
    np.save(folder / "tokens.npy", ids.numpy())
    cfg = SaeConfig("standard", WIDTH, features, hook=HOOK, model_name="gpt2")
    weights = {name: torch.randn(shape) / WIDTH**0.5 for name, shape in weight_shapes(cfg).items()}
    weights["W_dec"] = torch.nn.functional.normalize(weights["W_dec"], dim=-1)
    weights["b_enc"], weights["b_dec"] = torch.zeros(features), torch.zeros(WIDTH)
    # A bias that leaves the wanted share of tokens above zero.
    _, seen = wb.load(stock).run_with_cache(ids[:16], HOOK)
    pre = seen[HOOK].detach().flatten(0, 1) @ weights["W_enc"]
    weights["b_enc"] = -pre.float().quantile(1 - DENSITY, dim=0)
    save_sae(SparseAutoencoder(cfg, weights), folder / "sae")
    return folder


def _parts(folder: Path) -> tuple[Any, Any, Any]:
    import numpy as np
    import torch
    from transformers import GPT2LMHeadModel

    import workbench as wb
    from workbench.saes import load_sae

    stock: Any = GPT2LMHeadModel.from_pretrained(folder, local_files_only=True)
    return wb.load(stock.eval()), load_sae(folder / "sae"), torch.from_numpy(np.load(folder / "tokens.npy"))


def _ours(inputs: Callable[[], Path]) -> Callable[[], Any]:
    from workbench.saes import collect_features

    folder = inputs()
    model, sae, ids = _parts(folder)

    def run() -> Any:
        import torch

        shutil.rmtree(folder / "store", ignore_errors=True)
        store = collect_features(model, sae, ids, folder / "store", length=LENGTH)
        return torch.from_numpy(store.features()["max"].to_numpy().copy())

    return run


def _dashboard(inputs: Callable[[], Path], features: int) -> Callable[[], Any]:
    folder = inputs()
    python = peers.interpreter("sae-dashboard")
    worker = subprocess.Popen(
        [python, ROOT / "benchmarks" / "sae_dashboard_worker.py", folder, HOOK, str(features)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    weakref.finalize(race, worker.kill)
    _wait(worker, "ready")

    def run() -> Any:
        import numpy as np
        import torch

        assert worker.stdin is not None  # a pipe, as asked for
        worker.stdin.write("go\n")
        worker.stdin.flush()
        _wait(worker, "done")
        return torch.from_numpy(np.load(folder / "peaks.npy"))

    return run


def _wait(worker: subprocess.Popen[str], word: str) -> None:
    assert worker.stdout is not None  # a pipe, as asked for
    for line in worker.stdout:
        if line.strip() == word:
            return
    raise CannotMeasure(f"SAEDashboard's process ended with {worker.wait()} before it said {word}.")


def _peaks(inputs: Callable[[], Path], edge: tuple[int, int] = (0, 0)) -> Any:
    import torch

    model, sae, ids = _parts(inputs())
    wide = sae.double()
    found = torch.zeros(sae.cfg.d_sae, dtype=torch.float64)
    for rows in ids.split(16):
        _, seen = model.run_with_cache(rows, HOOK)
        inner = seen[HOOK][:, edge[0] : LENGTH - edge[1]]
        found = torch.maximum(found, wide.encode(inner.detach().double()).flatten(0, 1).amax(0))
    return found
