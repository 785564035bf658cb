"""Python that makes the numbers of each panel through the public API."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workbench.app.views.features.building import LENGTH, SHARD, WINDOWS, PassOptions, Plan, sae_of, speeches
from workbench.app.views.features.steering import Steer
from workbench.app.views.scripts import script
from workbench.saes.features import FeatureQuery


def store_code(folder: Path, body: str, names: str = "FeatureStore") -> str:
    """Python that opens a store and goes on with `body`."""
    return f"from workbench.saes import {names}\n\nstore = FeatureStore({str(folder)!r})\n{body}\n"


def list_code(folder: Path, query: FeatureQuery) -> str:
    """Python for the list of features."""
    plain = FeatureQuery()
    said = [f"{name}={value!r}" for name, value in vars(query).items() if value != getattr(plain, name)]
    return store_code(
        folder,
        f"features = store.find(FeatureQuery({', '.join(said)}))\n"
        'table = store.features().set_index("feature").loc[features]  # label, density, count, max, quantiles, ...',
        "FeatureQuery, FeatureStore",
    )


def pictures_code(folder: Path, feature: int) -> str:
    """Python for the tokens that a feature raises and lowers, and for the histogram of its activations."""
    return store_code(
        folder,
        f"logits = store.logits({feature})  # token, effect of a unit, before the final norm's scale; falling\n"
        f'median = store.features()["q50"][{feature}]\n'
        "logits_at_median = logits['effect'] * median / (store.info.final_scale or 1.0)\n"
        f"histogram = store.histogram({feature})  # low, high, count",
    )


def examples_code(folder: Path, feature: int, per_band: int) -> str:
    """Python for its examples."""
    return store_code(
        folder,
        f"examples = store.examples({feature}, limit={per_band})\n"
        "for example in examples:\n"
        "    print(example.band, round(example.value, 3), repr(example.text))",
    )


def proposing_code(folder: Path, feature: int) -> str:
    """Python for a label that the program proposes; it is not saved."""
    return (
        "from workbench.saes import FeatureStore\n"
        "from workbench.saes.features.explaining import explain_features\n\n"
        f"store = FeatureStore({str(folder)!r})\n"
        f"proposed = explain_features(store, [{feature}], save=False)  # label, detection, fuzzing, ...\n"
        f"logits = store.logits({feature})\n"
        'raised = logits[logits["effect"] > 0].head(3)["token"]\n'
    )


def neighbours_code(folder: Path, feature: int) -> str:
    """Python for the features near it and the neurons that go with it."""
    return store_code(
        folder,
        f"by_direction = store.neighbours({feature})\n"
        f'by_firing = store.neighbours({feature}, "firing")\n'
        f"neurons = store.neurons({feature})",
    )


def trying_code(model: str, folder: Path, feature: int, text: str, longest: int) -> str:
    """Python for the features of a text."""
    return script(
        model,
        text,
        f"sae = FeatureStore({str(folder)!r}).sae\n"
        f"features = read_features(model, sae, tokens[:, :{longest}])[0]  # [positions, features]\n"
        f"values = features[:, {feature}]",
        "from workbench.saes import FeatureStore, read_features",
    )


def steering_code(
    model: str, folder: Path, feature: int, most: float, prompt: str, asked: Steer, found: Sequence[float]
) -> str:
    """Python for the steered texts.

    Args:
        found: the strengths that were steered at, given or searched.
    """
    if asked.how == "ablate":
        what = f"{{{feature}: 0.0}}, strengths=[1.0], how='clamp'"
    else:
        what = f"{{{feature}: {most!r}}}, strengths={[one for one in found if one]!r}, how={asked.how!r}"
    return (
        "import workbench as wb\n"
        "from workbench.saes import FeatureStore, steer_features\n\n"
        f"model = wb.load({model!r})\n"
        f"sae = FeatureStore({str(folder)!r}).sae\n"
        f"steering = steer_features(\n    model, sae, {prompt!r},\n    {what},\n"
        f"    max_new_tokens={asked.tokens}, temperature={asked.temperature!r}, seed={asked.seed},\n)\n"
        "steering.table()\n"
    )


def building_code(plan: Plan, asked: PassOptions, workspace: Path) -> str:
    """Python for a store of a workspace."""
    imports, source = "", repr(str(workspace / plan.place))
    if plan.text == "speeches":
        imports = "from pathlib import Path\n\n"
        source = f"corpus.held_out_speeches(Path({str(speeches(workspace))!r}), 'Give a text of your own.')"
    return (
        f"{imports}import workbench as wb\n"
        "from workbench.saes import TextSource, collect_features, load_sae\n"
        + ("from workbench.zoo.recipe import corpus\n" if imports else "")
        + "\n"
        f"model = wb.load({plan.model!r})\n"
        f"sae = load_sae({sae_of(plan, workspace)!r}, model=model)\n"
        f"texts = {source}\n"
        f"store = collect_features(\n    model, sae, TextSource(texts, {LENGTH}), {str(workspace / plan.name)!r},\n"
        f"    tokens={asked.tokens}, shard_tokens={SHARD}, windows={WINDOWS}, first={asked.first},\n"
        f"    neurons={asked.neurons!r}, progress=True,\n)\n"
    )
