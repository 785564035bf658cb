"""Ablating: what there is to take out, what each token of a text loses, and the code of both and of the effects."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from math import comb

import numpy as np
from jaxtyping import Float

from workbench.app.serving import Workspace
from workbench.app.views.ablation_study import OWN_TEXT, Asking, Measured
from workbench.app.views.scripts import script
from workbench.errors import InputError
from workbench.interventions import Ablate
from workbench.model import HookedModel
from workbench.sites import Site, as_sites
from workbench.studies import study_text

MOST_HEADS = 512
"""Heads offered one by one; of models with more a quarter of a layer's, and single ones are typed."""


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
    """Sites that a model has: layers, mixers and MLPs, and heads, by quarters of a layer where they are many."""
    found: list[str] = []
    blocks = model.layout.blocks
    for layer, block in enumerate(blocks):
        found += [f"L{layer}"] + ([f"L{layer}.mixer"] if block.mixers else [])
        found += [f"L{layer}.mlp"] if f"blocks.{layer}.hook_mlp_out" in model.points else []
    heads = [mixer for mixer in model.mixers if mixer.n_heads]
    few = sum(mixer.n_heads for mixer in heads) <= MOST_HEADS
    for one in heads:
        each = 1 if few else max(1, one.n_heads // 4)
        found += [
            str(Site.heads(one.layer, first, min(first + each, one.n_heads), mixer=one.index))
            for first in range(0, one.n_heads, each)
        ]
    return found


def worked_example(components: list[str]) -> tuple[str, ...]:
    """What the page opens on: two heads of the second layer, a quarter of its channels, or its token mixer.

    Of these the one that leaves most random controls, sets of as many others: of few of them nothing can be said.
    """
    heads = [site for site in components if "H" in site]
    second = [site for site in heads if site.startswith("L1H")]
    mixers = [site for site in components if site.endswith(".mixer")]
    if second and ":" in second[0]:
        return tuple(second[:1])
    if len(second) > 1 and comb(len(heads) - 2, 2) > len(mixers):
        return tuple(second[:2])
    return tuple(mixers[1:2] or mixers or components[:1])


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
    if asking.inputs == OWN_TEXT:
        return script(asking.model, asking.prompt, body, imports)
    return f"import workbench as wb\n{imports}\n\nmodel = wb.load({asking.model!r})\n{body}\n"


def _quoted(text: str) -> str:
    """Text that may stand between triple quotes."""
    return text.replace("\\", "\\\\").replace("'''", "\\'\\'\\'")
