"""``make exactness``: every family's error, in every situation, written to docs/exactness.md and into the README.

``python -m tests.families.exactness [names]`` measures the cases of the contract suite whose name holds one of the
words (all of them), and the shipped zoo. It fails when a row is outside its bound. With names, nothing is written.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Started as a module from the root, Python would take kernels/ there for the package of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

import torch  # noqa: E402
from rich.progress import Progress  # noqa: E402
from torch import Tensor, nn  # noqa: E402

import workbench as wb  # noqa: E402
from tests.families.case import Case, all_in_float64, batch_of_tokens, build, hooked, recurrent, stock  # noqa: E402
from tests.families.cases import every_case  # noqa: E402
from tests.workbench import decoder_cases  # noqa: E402
from workbench.attention import ImplicitAttention  # noqa: E402
from workbench.families.recurrent import RecurrentAdapter  # noqa: E402
from workbench.forms import MixerForm, Toeplitz  # noqa: E402
from workbench.model import HookedModel  # noqa: E402
from workbench.zoo.loading import available  # noqa: E402

BOUND = {torch.float32: 1e-5, torch.float64: 1e-10}
# Trained LSTM cells count: they reach 150, and tanh lets 1 of it through. One float32 rounding of such a cell is 1e-5
# of what is written, so the layer's own arithmetic is no nearer to the truth than that.
COUNTING = {("zoo:lstm", "mixer", torch.float32): 1e-4}
LOGITS = {torch.float32: 1e-4}


@dataclass(frozen=True)
class Row:
    """One error.

    Attributes:
        family, model: the adapter's family, and the case or shipped member.
        mixer: class of the mixer module.
        form: canonical form; with sizes.
        quantity: ``"logits"`` (against the stock class) or a scope.
        situation: ``"plain"``, ``"padded"`` (left) or ``"carried"`` (a cache came before).
        error: relative, in the maximum norm.
        bound: what it has to stay below.
    """

    family: str
    model: str
    mixer: str
    form: str
    quantity: str
    situation: str
    dtype: str
    error: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the error is a number inside the bound."""
        return self.error <= self.bound


def of_case(name: str, case: Case) -> Iterator[Row]:
    """Logits against stock, and both scopes of the case's layer, in every situation the stock class knows."""
    tokens, mask = batch_of_tokens()
    situations = ["plain", *(["padded"] if case.padding else []), *(["carried"] if case.cache else [])]
    for dtype in BOUND:
        for situation in situations:
            model = build(case, dtype)
            shown = mask if situation == "padded" or (situation == "carried" and case.padding) else None

            def run(model: nn.Module = model, shown: Tensor | None = shown, situation: str = situation) -> Tensor:
                return _run(model, case, tokens, shown, situation)

            expected = run()
            forms: list[MixerForm] = []
            with hooked(model) as wrapped:
                adapter = recurrent(wrapped, case)
                with adapter.recorded_by(forms.append):
                    actual = run()
                facts = (adapter.family, name, type(adapter.module).__name__, describe(forms[-1]))
            kind = str(dtype).removeprefix("torch.")
            seen = torch.ones_like(mask) if shown is None else shown
            seen = seen[:, -actual.shape[1] :].bool()
            error = float((actual - expected)[seen].abs().max() / expected[seen].abs().max())
            yield Row(*facts, "logits", situation, kind, error, LOGITS.get(dtype, case.float64))
            for scope in ("core", "mixer"):
                error = ImplicitAttention.from_form(forms[-1], scope=scope).check(full=True)
                yield Row(*facts, scope, situation, kind, error, BOUND[dtype])


def _run(model: nn.Module, case: Case, tokens: Tensor, mask: Tensor | None, situation: str) -> Tensor:
    if situation != "carried":
        logits: Tensor = stock(model, tokens, mask)
        return logits
    _, cache = stock(model, tokens[:, :9], None if mask is None else mask[:, :9], keep=True)
    later = mask[:, :10] if mask is not None and case.mask_in_decoding else None
    logits, _ = stock(model, tokens[:, 9:10], later, cache=cache, keep=True)
    return logits


def of_decoder(name: str) -> Iterator[Row]:
    """The same for a softmax decoder, whose mixer is its core."""
    tokens, mask, _ = decoder_cases.left_padded()
    for dtype in BOUND:
        for situation in ("plain", "padded"):
            model = decoder_cases.build(name).to(dtype)
            model.set_experts_implementation("eager")  # torch's grouped product knows no float64
            shown = mask if situation == "padded" else None
            expected = stock(model, tokens, shown)
            with hooked(model) as wrapped, all_in_float64(dtype):
                actual = stock(model, tokens, shown)
                attention = wrapped.implicit_attention(tokens, 1, attention_mask=shown)
                adapter = wrapped.adapters[1]
            facts = (adapter.family, name, type(adapter.module).__name__, describe(attention.form))
            kind = str(dtype).removeprefix("torch.")
            seen = torch.ones_like(mask).bool() if shown is None else mask.bool()
            error = float((actual - expected)[seen].abs().max() / expected[seen].abs().max())
            # A soft cap makes stock attend in its eager code, whose softmax is in float32 whatever the model is in.
            inside = 1e-6 if attention.form.core.softcap is not None else 1e-9  # type: ignore[union-attr]
            if bool(expected[seen].isfinite().all()):  # stock's eager attention in float64 makes NaN of padding
                yield Row(*facts, "logits", situation, kind, error, LOGITS.get(dtype, inside))
            error = attention.check(full=True)
            for scope in ("core", "mixer"):
                yield Row(*facts, scope, situation, kind, error, BOUND[dtype])


def of_member(name: str) -> Iterator[Row]:
    """Both scopes of every layer of a shipped member on held-out lengths, the worst layer of each."""
    model = wb.load(f"zoo:{name}")
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, model.cfg.d_vocab, (2, 160), generator=generator)
    mask = torch.ones_like(tokens)
    mask[1, :48] = 0
    for dtype in BOUND:
        wrapped = model if dtype == torch.float32 else HookedModel(wb.load(f"zoo:{name}").unwrap().to(dtype))
        for adapter in wrapped.adapters:
            if isinstance(adapter, RecurrentAdapter):
                adapter.backend = "reference"
        for situation in ("plain", "padded"):
            for scope in ("core", "mixer"):
                worst, facts = 0.0, ("", "", "", "")
                for layer, attention in wrapped.implicit_attentions(
                    tokens, scope=scope, attention_mask=mask if situation == "padded" else None
                ):
                    error = attention.check(rows=160, units=32)
                    adapter = wrapped.adapters[layer]
                    if not error <= worst:
                        worst = error
                        facts = (adapter.family, f"zoo:{name}", type(adapter.module).__name__, describe(attention.form))
                kind = str(dtype).removeprefix("torch.")
                bound = COUNTING.get((f"zoo:{name}", scope, dtype), BOUND[dtype])
                yield Row(*facts, scope, situation, kind, worst, bound)


def describe(form: MixerForm) -> str:
    """The core's form and sizes, as in ``Delta, K 3, V 4``."""
    core = form.core
    kind = type(core).__name__ + (" (given the gates)" if form.conditional else "")
    if isinstance(core, Toeplitz):
        return f"{kind}, {core.kernel.shape[1]} lags"
    return f"{kind}, K {core.k.shape[-1]}, V {core.v.shape[-1]}"


def tables(rows: list[Row]) -> str:
    """The page: one line a model, its worst situation in every column, then every number."""
    lines = [
        "# How exact every family is",
        "",
        f"Made by `make exactness` with torch {torch.__version__}, transformers {_transformers()}, "
        f"{platform.machine()}. Errors are relative, in the maximum norm. For the scopes: `A v + constant`, every "
        "entry of the matrix from its closed form, against the layer's output from its recurrence run step by step "
        "(for softmax, from the model's own attention). For the logits: hooked against stock. Bounds: 1e-10 in "
        "float64 and 1e-5 in float32 for the scopes; 1e-4 in float32 and 1e-9 in float64 for the logits (1e-6 where "
        "stock computes in float32 inside). Small random models with every parameter moved from its initial value, "
        "left padding and a cache before it where the stock class knows them; the shipped zoo at 160 tokens, worst "
        "layer. The trained LSTM's cells count up to 150, of which tanh lets 1 through, so in float32 its own "
        "arithmetic is good to 1e-5 of what it writes; its bound there is 1e-4.",
        "",
        *summary(rows),
        "",
        "## Every number",
        "",
        "| model | quantity | situation | dtype | error | bound |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row.model} | {row.quantity} | {row.situation} | {row.dtype} | {row.error:.1e} | {row.bound:.0e} |"
            for row in rows
        ),
        "",
    ]
    return "\n".join(lines)


def summary(rows: list[Row]) -> list[str]:
    """One line a model, the worst situation in every column."""
    columns = [(q, d) for q in ("core", "mixer", "logits") for d in ("float64", "float32")]
    lines = [
        "| family | model | form | " + " | ".join(f"{q}, {d}" for q, d in columns) + " |",
        "| --- " * (3 + len(columns)) + "|",
    ]
    for model in dict.fromkeys(row.model for row in rows):
        mine = [row for row in rows if row.model == model]
        cells = []
        for quantity, dtype in columns:
            errors = [row.error for row in mine if (row.quantity, row.dtype) == (quantity, dtype)]
            cells.append(f"{max(errors):.0e}" if errors else "")
        lines.append(f"| {mine[0].family} | {model} | {mine[0].form} | " + " | ".join(cells) + " |")
    return lines


def _transformers() -> str:
    import transformers

    return str(transformers.__version__)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.families.exactness", description=__doc__)
    parser.add_argument("names", nargs="*", help="words that a model's name has to hold one of")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    arguments = parser.parse_args()
    work: list[tuple[str, Callable[[], Iterator[Row]]]] = []
    for name, case in every_case().items():
        work.append((name, partial(of_case, name, case)))
    for name in decoder_cases.TRANSFORMERS:
        work.append((name, partial(of_decoder, name)))
    for name in available():
        work.append((f"zoo:{name}", partial(of_member, name)))
    if arguments.names:
        work = [(name, rows) for name, rows in work if any(word in name for word in arguments.names)]
    rows: list[Row] = []
    with Progress(disable=not sys.stderr.isatty()) as progress:
        for name, measured in progress.track(work, description="families"):
            rows.extend(measured())
            progress.console.print(name, highlight=False) if progress.console.is_terminal else None
    broken = [row for row in rows if not row.holds]
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        print("\n".join(summary(rows)))
    if not arguments.names:
        write(rows)
    for row in broken:
        print(f"outside its bound: {row}", file=sys.stderr)
    sys.exit(1 if broken else 0)


def write(rows: list[Row]) -> None:
    """Put the numbers where people read them: the page, and the README's table of families."""
    from tests.families import abilities

    (ROOT / "docs/exactness.md").write_text(tables(rows))
    abilities.write()


if __name__ == "__main__":
    main()
