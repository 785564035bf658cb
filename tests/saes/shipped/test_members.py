"""The autoencoders that come with the workbench: each loads by name, fits its model, and is what its card says."""

import json
import re

import pytest
import torch

import workbench as wb
from workbench.errors import LoadError
from workbench.saes import load_sae
from workbench.saes.shipped import MEMBERS, directory
from workbench.saes.shipped.card import write_card
from workbench.saes.streams import read_rows

# Neither the models nor the autoencoders were trained on it (it was written for this test).
TEXT = (
    "The committee met in the morning and agreed that the bridge over the river had to be repaired before the winter. "
    "Nobody could say what it would cost, and the people of the valley were asked to give what they could. By the end "
    "of the month the money was there, and the work began with the first dry day of October. "
)


@pytest.mark.parametrize("name", MEMBERS)
def test_each_explains_most_of_what_its_model_makes_of_a_new_text(name):
    member = MEMBERS[name]
    model = wb.load(f"zoo:{member.model}")
    sae = load_sae(name, model=model)
    assert (sae.cfg.d_sae, sae.cfg.k, sae.cfg.hook, sae.cfg.every) == (1024, 16, member.hook, member.every)
    rows = torch.cat([part.values[0] for part in read_rows(model, [TEXT * 4], sae.site(model), length=128)])
    with torch.no_grad():
        features, made = sae.encode(rows), sae(rows)
    assert (features > 0).sum(-1).max() <= 16
    spread = (rows - rows.mean(0)).pow(2).sum()
    assert float(1 - (rows - made).pow(2).sum() / spread) > 0.6


@pytest.mark.parametrize("name", MEMBERS)
def test_the_card_is_written_from_the_evaluation(name):
    folder = directory(name)
    report = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert (folder / "README.md").read_text(encoding="utf-8") == write_card(MEMBERS[name], report)
    by_name = {row["autoencoder"]: row for row in report["judged"]}
    assert by_name["sae"]["explained_variance"] > by_name["pca"]["explained_variance"]
    assert re.search(r"explains \d\d\.\d% of the variance", (folder / "README.md").read_text(encoding="utf-8"))


def test_a_name_that_is_not_there_lists_those_that_are():
    with pytest.raises(LoadError, match=r"no autoencoder 'zoo:mamba/stat'; .*zoo:mamba/state"):
        load_sae("zoo:mamba/stat")
