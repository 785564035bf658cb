"""What an ablation did: effects beside random controls, prompt by prompt, and token by token on one text."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from workbench.app.serving import Workspace
from workbench.app.views.ablation_study import OWN_TEXT, Asking, Measured
from workbench.app.views.scripts import script
from workbench.errors import InputError
from workbench.figures import error_bars, plain_layout
from workbench.figures.tokens import escape_label
from workbench.interventions import Ablate
from workbench.model import HookedModel
from workbench.sites import as_sites
from workbench.studies import study_text

MOST_BARS = 12
"""Bars of single components; of more, those with the largest effects."""

MOST_HEADS = 512
"""Heads offered one by one; of models with more, single heads are typed."""

BAR, GREY, DOT = "#AA4499", "rgba(128,128,128,0.75)", "#AA4499"


@dataclass(frozen=True)
class Effect:
    """One bar: an edit's mean effect over prompts, with its 95 % interval (NaN without) and that of every prompt."""

    label: str
    value: float
    low: float
    high: float
    prompts: tuple[float, ...]


@dataclass(frozen=True)
class Beside:
    """What one entry of the study found, on one metric.

    Attributes:
        together: all components of the entry at once.
        alone: each by itself; empty where there is only one.
        controls: mean effect of each random control, as many other components at once.
        p: share of the sets, this one among them, that do as much either way; NaN without controls.
        baseline: the metric without an edit.
    """

    together: Effect
    alone: tuple[Effect, ...]
    controls: tuple[float, ...]
    p: float
    baseline: float


@dataclass(frozen=True)
class TokenLosses:
    """Loss of every token of a text before and after, in nats.

    Attributes:
        tokens: text of every token.
        before, after: loss of each; NaN for the first, which nothing predicts.
    """

    tokens: list[str]
    before: Float[np.ndarray, " time"]
    after: Float[np.ndarray, " time"]

    @property
    def difference(self) -> Float[np.ndarray, " time"]:
        """After less before."""
        change: Float[np.ndarray, " time"] = self.after - self.before
        return change


def components_of(model: HookedModel) -> list[str]:
    """Sites that a model has: layers, mixers and MLPs, and heads where they are few."""
    found: list[str] = []
    blocks = model.layout.blocks
    for layer, block in enumerate(blocks):
        found += [f"L{layer}"] + ([f"L{layer}.mixer"] if block.mixers else [])
        found += [f"L{layer}.mlp"] if f"blocks.{layer}.hook_mlp_out" in model.points else []
    heads = [mixer for mixer in model.mixers if mixer.n_heads]
    if sum(mixer.n_heads for mixer in heads) <= MOST_HEADS:
        from workbench.sites import Site

        found += [str(Site.heads(one.layer, head, mixer=one.index)) for one in heads for head in range(one.n_heads)]
    return found


def worked_example(components: list[str]) -> tuple[str, ...]:
    """What the page opens on: the token mixer of the second layer, which every family has."""
    mixers = [site for site in components if site.endswith(".mixer")]
    return tuple(mixers[1:2] or mixers or components[:1])


def shown_of(measured: Measured, metric: str) -> list[Beside]:
    """The bars of every entry of the study, on one metric."""
    rows = measured.effects[measured.effects["metric"] == metric]
    units = measured.units[measured.units["metric"] == metric]
    return [
        _beside(rows[rows["family"] == entry.name], units[units["family"] == entry.name])
        for entry in measured.study.edits
    ]


def _beside(rows: pd.DataFrame, units: pd.DataFrame) -> Beside:
    own = rows[rows["control_of"].isna()]
    whole = own.loc[own["size"].idxmax()] if len(own) > 1 else own.iloc[0]
    alone = own[own["label"] != whole["label"]]
    largest = alone.iloc[np.argsort(-alone["effect"].abs().to_numpy(), kind="stable")[:MOST_BARS]].sort_index()
    drawn = rows[rows["control_of"] == whole["label"]]["effect"].dropna()
    return Beside(
        together=_effect(whole, units),
        alone=tuple(_effect(row, units) for _, row in largest.iterrows()),
        controls=tuple(float(effect) for effect in drawn),
        p=float(whole["p_controls"]),
        baseline=float(whole["baseline"]),
    )


def _effect(row: pd.Series, units: pd.DataFrame) -> Effect:
    mine = units[(units["label"] == row["label"]) & units["control_of"].isna()]
    return Effect(
        label=str(row["label"]),
        value=float(row["effect"]),
        low=float(row["low"]),
        high=float(row["high"]),
        prompts=tuple(float(effect) for effect in mine["effect"]),
    )


UNITS = {
    "loss": "nats",
    "accuracy": "share of scored positions",
    "probability": "probability",
    "entropy": "nats",
    "kl": "nats",
    "top1_change": "share of scored positions",
    "logit_difference": "logits",
    "preference": "share of scored positions",
}


def effect_figure(shown: list[Beside], metric: str) -> go.Figure:
    """Bars with intervals, a dot a prompt, and the random controls of each set beside it."""
    figure = go.Figure()
    ticks: list[str] = []
    bars: list[tuple[int, Effect]] = []
    grey_x, grey_y = [], []
    for beside in shown:
        bars.append((len(ticks), beside.together))
        ticks.append(_short(beside.together.label))
        if beside.controls:
            spread = np.linspace(-0.25, 0.25, len(beside.controls)) if len(beside.controls) > 1 else np.zeros(1)
            grey_x += (len(ticks) + spread).tolist()
            grey_y += beside.controls
            ticks.append("random controls")
        for effect in beside.alone:
            bars.append((len(ticks), effect))
            ticks.append(f"{_short(effect.label)} alone")
    values = [effect.value for _, effect in bars]
    whiskers = error_bars(
        values, [e.low for _, e in bars], [e.high for _, e in bars], color="rgba(128,128,128,1)", thickness=1.5, width=5
    )
    figure.add_bar(
        x=[place for place, _ in bars],
        y=values,
        width=0.5,
        marker={"color": BAR},
        error_y=whiskers,
        name="mean and 95 % interval",
        text=[escape_label(effect.label) for _, effect in bars],
        textposition="none",
        hovertemplate="%{text}: %{y:+.3g}<extra></extra>",
    )
    dots = [(place, value) for place, effect in bars for value in effect.prompts]
    figure.add_scatter(
        x=[place + 0.34 for place, _ in dots],
        y=[value for _, value in dots],
        mode="markers",
        marker={"size": 5, "color": DOT},
        name="a prompt",
        hovertemplate="one prompt: %{y:+.3g}<extra></extra>",
    )
    if grey_x:
        figure.add_scatter(
            x=grey_x,
            y=grey_y,
            mode="markers",
            marker={"size": 7, "color": GREY, "symbol": "diamond"},
            name="a random set of as many others",
            hovertemplate="random set: %{y:+.3g}<extra></extra>",
        )
    layout = plain_layout()
    figure.update_layout(
        **layout,
        height=420,
        barmode="overlay",
        xaxis={
            "tickmode": "array",
            "tickvals": list(range(len(ticks))),
            "ticktext": [escape_label(tick) for tick in ticks],
            "automargin": True,
            "showgrid": False,
            "zeroline": False,
            "range": [-0.6, max(2.0, len(ticks)) - 0.4],
        },
        yaxis={
            "title": f"change of {metric.replace('_', ' ')} ({UNITS.get(metric, '')})",
            "zerolinecolor": "rgba(128,128,128,0.8)",
            "automargin": True,
        },
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure


def _short(label: str) -> str:
    parts = label.split(" + ")
    return label if len(parts) <= 2 else f"all {len(parts)} together"


def in_words(beside: Beside, metric: str, method: str) -> str:
    """What came out, in a sentence or two."""
    one = beside.together
    unit = {"nats": " nats", "logits": ""}.get(UNITS.get(metric, ""), "")
    said = (
        f"Without {one.label} ({method} ablation), {metric.replace('_', ' ')} goes from {beside.baseline:.3g} to "
        f"{beside.baseline + one.value:.3g}: {one.value:+.3g}{unit}"
    )
    if np.isfinite(one.low):
        said += f" (95 % interval {one.low:+.3g} to {one.high:+.3g}, {len(one.prompts)} prompts)"
    said += "."
    if beside.controls:
        sets = len(beside.controls)
        said += (
            f" {sets} random set{'s' if sets > 1 else ''} of as many other components: "
            f"{min(beside.controls):+.3g} to {max(beside.controls):+.3g} (p = {beside.p:.2g})."
        )
    return said


# ---- one text, token by token


def token_losses(model: HookedModel, asking: Asking, workspace: Workspace) -> TokenLosses:
    """Loss of every token of the prompt with and without the components.

    A mean is the component's own mean over this prompt.

    Raises:
        InputError: resampling, which takes other texts as long as this one; features with a mean; a short prompt.
    """
    if asking.method == "resample":
        raise InputError("Resampling takes what other texts as long as this one hold; choose zero or mean.")
    if asking.features and asking.method != "zero":
        raise InputError("Features are set to zero on a single text; choose zero.")
    tokens = model.to_tokens(asking.prompt)
    if tokens.shape[1] < 2:
        raise InputError("The prompt has one token, so there is nothing to predict; write a longer one.")
    before = model(tokens, return_type="loss", loss_per_token=True)[0]
    with ExitStack() as edits:
        for source, features in asking.features.items():
            from workbench.saes import FeatureEdit, load_sae

            place = source if source.startswith("zoo:") else workspace.inside(source)
            edits.enter_context(FeatureEdit.ablate(load_sae(place, model=model), features).applied(model))
        hooks = Ablate(as_sites(asking.sites), asking.method).hooks(model, tokens) if asking.sites else []
        after = model.run_with_hooks(tokens, fwd_hooks=hooks, return_type="loss", loss_per_token=True)[0]
    first = np.array([np.nan], dtype=np.float32)
    return TokenLosses(
        list(model.to_str_tokens(tokens[0])),
        np.concatenate([first, before.detach().float().cpu().numpy()]),
        np.concatenate([first, after.detach().float().cpu().numpy()]),
    )


def token_losses_code(asking: Asking) -> str:
    """Python for `token_losses`."""
    imports, around, indent = [], [], ""
    for number, (source, features) in enumerate(asking.features.items()):
        imports = ["from workbench.saes import FeatureEdit, load_sae"]
        around.append(f"sae{number} = load_sae({source!r}, model=model)")
        around.append(f"{indent}with FeatureEdit.ablate(sae{number}, {features}).applied(model):")
        indent += "    "
    hooks = "[]"
    if asking.sites:
        imports.append("from workbench.interventions import Ablate")
        hooks = f"Ablate({list(asking.sites)}, {asking.method!r}).hooks(model, tokens)"
    plain = [line for line in around if line.startswith("sae")]
    blocks = [line for line in around if not line.startswith("sae")]
    body = [
        "before = model(tokens, return_type='loss', loss_per_token=True)[0]",
        *plain,
        *blocks,
        f"{indent}hooks = {hooks}",
        f"{indent}after = model.run_with_hooks(tokens, fwd_hooks=hooks, return_type='loss', loss_per_token=True)[0]",
        "difference = after - before  # [time - 1], nats: of the second token on",
    ]
    return script(asking.model, asking.prompt, "\n".join(body), "\n".join(imports))


def ablation_code(asking: Asking, measured: Measured) -> str:
    """Python for the effects: the same study, run on the model."""
    text = f"text = Path({asking.text_file!r})\ntext.parent.mkdir(exist_ok=True)\ntext.write_text({asking.prompt!r})\n"
    body = (
        f"{text if asking.inputs == OWN_TEXT else ''}"
        f"Path('study.yaml').write_text('''{_quoted(study_text(measured.study, defaults=False))}''')\n"
        f"study, folder = read_study('study.yaml'), Path('study-runs/{asking.name}')\n"
        "run_with_model(study, model, folder)\n"
        "effects = effects_table(read_results(folder))  # an edit or random control a row, for every metric\n"
        "print(effects[['label', 'metric', 'effect', 'low', 'high', 'control_of', 'p_controls']])"
    )
    imports = (
        "from pathlib import Path\n\n"
        "from workbench.studies import effects_table, read_results, read_study, run_with_model"
    )
    return script(asking.model, asking.prompt, body, imports)


def _quoted(text: str) -> str:
    """Text that may stand between triple quotes."""
    return text.replace("\\", "\\\\").replace("'''", "\\'\\'\\'")
