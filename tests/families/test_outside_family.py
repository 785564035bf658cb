"""docs/adding-a-family.md is run as it stands, block by block, in a folder outside the repository."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import workbench as wb
from workbench.errors import UnsupportedFamilyError
from workbench.families import unregister
from workbench.zoo import registry

PAGE = Path(__file__).resolve().parents[2] / "docs/adding-a-family.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


class MovingAverage(nn.Module):
    """The page's module, as its owner would write it: one step after another."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rate, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        a, h, states = self.rate(x).sigmoid(), torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            h = a[:, t] * h + (1 - a[:, t]) * x[:, t]
            states.append(h)
        out: Tensor = self.out(torch.stack(states, dim=1))
        return out


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(12), MovingAverage(12)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.mix(self.norm(x))
        return out


class Averaging(nn.Module):
    """Somebody's language model, which nothing here knows of."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(50, 12), nn.Linear(12, 50)
        self.layers = nn.ModuleList([Block(), Block()])

    def forward(self, input_ids: Tensor) -> Any:
        x = self.table(input_ids)
        for layer in self.layers:
            x = layer(x)
        return SimpleNamespace(logits=self.head(x))


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the page's files, importable; what they register is taken back."""
    for block in BLOCKS:
        named = re.match(r"# (\w+\.py)\n", block)
        if named is not None:
            (tmp_path / named[1]).write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("forgetting", "average"):
        module = sys.modules.pop(name, None)
        if hasattr(module, "MovingAverageAdapter"):
            unregister(module.MovingAverageAdapter)
    registry._builders.pop("forgetting", None)


def test_the_page_is_short() -> None:
    assert len(PAGE.read_text().splitlines()) < 80


def test_the_pages_native_mixer_works_as_it_says(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = [block for block in BLOCKS if not block.startswith("#")]
    scope: dict[str, Any] = {}
    exec(compile(shown, str(PAGE), "exec"), scope)
    assert float(capsys.readouterr().out) < 1e-5
    model, tokens = scope["model"], scope["tokens"]
    # The page's formula, one head at a time.
    _, cache = model.run_with_cache(tokens)
    assert cache["blocks.1.mixer.hook_log_decay"].shape == (2, 12, 4)
    q, k, v, decay, z = (cache[f"blocks.1.mixer.hook_{name}"][0, :, 2] for name in ("q", "k", "v", "log_decay", "z"))
    state = torch.zeros(8, 8)
    for t in range(12):
        state = decay[t].exp() * state + torch.outer(k[t], v[t])
        torch.testing.assert_close(q[t] @ state, z[t], atol=1e-5, rtol=1e-5)
    # Padding, decoding and attribution come with it.
    mask = torch.ones_like(tokens)
    mask[1, :4] = 0
    padded = model(tokens, attention_mask=mask)[1, 4:]
    torch.testing.assert_close(padded, model(tokens[1:, 4:])[0], atol=1e-5, rtol=1e-5)
    assert torch.equal(model.generate(tokens, 4), model.generate(tokens, 4, use_cache=False))
    assert float(model.attribute(tokens).check()) < 1e-4


def test_the_pages_adapter_serves_somebodys_own_module(outside: Path) -> None:
    module = Averaging()
    with pytest.raises(UnsupportedFamilyError, match="Averaging is not supported"):
        wb.load(module)
    tokens = torch.randint(0, 50, (2, 9))
    expected = module(input_ids=tokens).logits
    importlib.import_module("average")
    model = wb.load(module)
    assert model.cfg.family == "moving average"
    torch.testing.assert_close(model(tokens), expected, atol=1e-5, rtol=1e-5)
    for scope in ("core", "mixer"):
        assert model.implicit_attention(tokens, 1, scope=scope).check() < 1e-5  # type: ignore[arg-type]
    silent = model.run_with_hooks(tokens, fwd_hooks=[("blocks.1.mixer.hook_write", lambda write, hook: 0 * write)])
    assert float((silent - expected).detach().abs().max()) > 1e-3
