"""``make families``: what can be asked of every family, tried on small random models, into the README's table.

Every entry but the errors comes from asking: a lens is trained for a step, a state is edited and the logits move, a
head finder scores, the compiled loops and the GPU's kernels say what keeps a form from them. The errors are those that
``make exactness`` measured (`docs/exactness.md`). A test runs this again and holds the README to it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
# Started as a module from the root, Python would take kernels/ there for the package of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

import torch  # noqa: E402
from torch import nn  # noqa: E402

from tests.families.case import build, hooked, zoo  # noqa: E402
from tests.families.cases import every_case  # noqa: E402
from tests.workbench import decoder_cases  # noqa: E402
from workbench import at_steps  # noqa: E402
from workbench.app.navigation import ENTRIES  # noqa: E402
from workbench.errors import HookNameError, InputError  # noqa: E402
from workbench.forms import Form, MixerForm, Softmax, Toeplitz  # noqa: E402
from workbench.kernels.native import backend as native  # noqa: E402
from workbench.kernels.triton import backend as triton  # noqa: E402
from workbench.model import HookedModel  # noqa: E402
from workbench.probes import find_heads, lenses  # noqa: E402
from workbench.saes import VectorSite  # noqa: E402

BEGIN, END = "<!-- families:begin -->", "<!-- families:end -->"
PAGE = ROOT / "docs/exactness.md"
YES, NO, SOME = "yes", "–", "some"
TIME = 19


@dataclass(frozen=True)
class Abilities:
    """What can be asked of one mixer class, as the cells of the table; `HEADINGS` says what each cell means.

    Attributes:
        exact: ``yes``, or ``given the gates`` where these read the state.
        unit: what carries a matrix of its own, ``head`` or ``channel``.
        statistics: ``streamed``, or ``in tiles`` where the matrix is read a tile at a time.
        state: ``yes`` where an edit of one step's state moved the logits.
        lens, finders: ``yes`` where a tuned lens was trained, and a finder scored every head.
        autoencoders: what an autoencoder can be trained on.
        kernels: where something fused computes the core.
        pages: pages of the explorer that show it.
    """

    exact: str
    unit: str
    statistics: str
    state: str
    lens: str
    autoencoders: str
    finders: str
    kernels: str
    pages: str


HEADINGS = {
    "exact": "exact",
    "unit": "a matrix per",
    "statistics": "head statistics",
    "state": "state edit",
    "lens": "tuned lens",
    "autoencoders": "autoencoders on",
    "finders": "head finders",
    "kernels": "fused kernels",
    "pages": "explorer pages",
}


def subjects() -> Iterator[tuple[nn.Module, int]]:
    """Small random models, one a mixer class and form, and the layer to look at."""
    for case in every_case().values():
        yield build(case), case.layer
    for name in decoder_cases.TRANSFORMERS:
        yield decoder_cases.build(name), 1
    yield zoo("attention", n_heads=2)().eval(), 1


@contextmanager
def _as_on_a_gpu() -> Iterator[None]:
    """The GPU's kernels say of a form on a CPU what they would say on a GPU, where their interpreter may run it."""
    with mock.patch.dict(os.environ, TRITON_INTERPRET="1"):
        yield


def abilities_of(model: HookedModel, layer: int, form: MixerForm) -> Abilities:
    """Ask everything of one model."""
    tokens = torch.randint(1, 40, (2, TIME), generator=torch.Generator().manual_seed(0))
    core = form.core
    of_one = isinstance(core, Toeplitz) or core.v.shape[-1] == 1
    has_state = _state_can_be_edited(model, layer, tokens)
    pages = [entry for entry in ENTRIES if has_state or entry.name != "state"]
    return Abilities(
        exact="given the gates" if form.conditional else YES,
        unit="channel" if of_one else "head",
        statistics=_statistics(model, layer, tokens),
        state=YES if has_state else NO,
        lens=YES if _lens_trains(model, tokens) else NO,
        autoencoders=_autoencoders(model, layer),
        finders=YES if _finder_scores(model, layer) else NO,
        kernels=_kernels(core),
        pages=f"all {len(ENTRIES)}" if len(pages) == len(ENTRIES) else f"{len(pages)}, not State",
    )


def _kernels(core: Form) -> str:
    if isinstance(core, Softmax):
        return "torch's own"
    with _as_on_a_gpu():
        found = [name for name, backend in (("CPU", native), ("GPU", triton)) if backend.misfit(core) is None]
    return ", ".join(found) or NO


def _state_can_be_edited(model: HookedModel, layer: int, tokens: torch.Tensor) -> bool:
    def emptied(state: torch.Tensor, hook: object) -> torch.Tensor:
        return torch.zeros_like(state)

    try:
        edited = model.run_with_hooks(
            tokens, fwd_hooks=[(f"blocks.{layer}.mixer.hook_state", at_steps(emptied, TIME // 2))]
        )
    except HookNameError:
        return False
    return not torch.allclose(edited, model(tokens))


def _statistics(model: HookedModel, layer: int, tokens: torch.Tensor) -> str:
    """Whether a matrix is ever held, by watching whether one is asked for."""
    tiled = []

    def watched(*arguments: object) -> object:
        tiled.append(arguments)
        return of_tiles(*arguments)  # type: ignore[arg-type]

    from workbench.attention.operators import of_tiles

    with mock.patch("workbench.attention.operators.of_tiles", watched):
        found = model.attention_statistics(tokens, layers=[layer], scope="mixer")
    if not all(bool(value.isfinite().any()) for value in found.average("entropy")):
        return NO
    return "in tiles" if tiled else "streamed"


def _lens_trains(model: HookedModel, tokens: torch.Tensor) -> bool:
    try:
        losses = lenses.train_tuned_lens(model, tokens, lenses.TunedLensOptions(steps=1, rows=2)).losses
    except InputError:  # layers one behind the other, without a residual stream
        return False
    return bool(losses.isfinite().all())


def _autoencoders(model: HookedModel, layer: int) -> str:
    places = {"stream": f"blocks.{layer}.hook_resid_post", "state": f"blocks.{layer}.mixer.hook_state"}
    found = []
    for name, hook in places.items():
        try:
            if VectorSite.of(model, hook).width(model):
                found.append(name)
        except (HookNameError, InputError):
            continue
    return ", ".join(found) or NO


def _finder_scores(model: HookedModel, layer: int) -> bool:
    table = find_heads(model, "induction", layers=[layer], block=8, batch=2, seeds=1, null_draws=2, bos=False)
    return bool(table["score"].between(0, 1).all())


def rows() -> dict[str, list[str]]:
    """The cells of every family that stand before and after the errors: mixers, form, then `Abilities`."""
    asked: dict[tuple[str, str, str], Abilities] = {}
    for module, layer in subjects():
        with hooked(module) as model:
            attention = model.implicit_attention(torch.arange(1, TIME)[None], layer, scope="core")
            adapter, form = model.adapters[layer], attention.form
            key = (adapter.family, type(adapter.module).__name__, type(form.core).__name__)
            if key not in asked:
                asked[key] = abilities_of(model, layer, form)
    table = {}
    for family in sorted({family for family, _, _ in asked}):
        mine = {key: found for key, found in asked.items() if key[0] == family}
        mixers = ", ".join(dict.fromkeys(f"`{mixer}`" for _, mixer, _ in mine))
        forms = ", ".join(dict.fromkeys(form for _, _, form in mine))
        table[family] = [mixers, forms, *map(_together, zip(*map(astuple, mine.values()), strict=True))]
    return table


def _together(cells: tuple[str, ...]) -> str:
    """What all mixers of a family say, or each thing that some say."""
    different = dict.fromkeys(cells)
    return SOME if set(different) == {YES, NO} else " or ".join(different)


def errors(page: str) -> dict[str, str]:
    """The largest error of a family's matrices in float64 and in float32, from the page of ``make exactness``."""
    lines = [line for line in page.split("## Every number")[0].splitlines() if line.startswith("|")]
    heading, _, *measured = (line[2:-2].split(" | ") for line in lines)
    models = [dict(zip(heading, cells, strict=True)) for cells in measured]

    def worst(family: str, dtype: str) -> str:
        mine = [model for model in models if model["family"] == family]
        found = [model[f"{scope}, {dtype}"] for model in mine for scope in ("core", "mixer")]
        largest = max(filter(None, found), key=float)
        # Cells without gates forget at once, by the smallest decay there is: no rounding is left to be measured.
        return largest if float(largest) > 1e-30 else "0"

    families = {model["family"] for model in models}
    return {family: f"{worst(family, 'float64')}, {worst(family, 'float32')}" for family in families}


def table() -> str:
    """The README's table."""
    measured = errors(PAGE.read_text("utf-8"))
    exact, *others = (HEADINGS[field.name] for field in fields(Abilities))
    lines = [["family", "mixers", "form", exact, "error: float64, float32", *others]]
    lines.append(["---"] * len(lines[0]))
    for family, (mixers, forms, exact, *others) in rows().items():
        lines.append([family, mixers, forms, exact, measured[family], *others])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def written(readme: str, made: str) -> str:
    """The README with the table in its place."""
    return re.sub(f"(?<={BEGIN}\n).*?(?=\n{END})", lambda _: made, readme, flags=re.DOTALL)


def write() -> None:
    """Put the table into the README."""
    readme = ROOT / "README.md"
    readme.write_text(written(readme.read_text("utf-8"), table()), "utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        print(table())
    else:
        write()
