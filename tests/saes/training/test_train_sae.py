"""One call trains on any hook of any model, and a training of it that was cut off goes on to the same weights."""

import warnings

import pytest
import torch

import workbench as wb
from workbench.errors import HookNameError, InputError
from workbench.saes import SaeTraining, TextSource, VectorSite, load_sae, read_rows, train_sae

TEXTS = [f"Fellow citizens, number {number} of the {word} of the union is strong. " * 4 for number in range(12)
         for word in ("state", "house", "senate")]  # fmt: skip
SMALL = {"d_sae": 64, "k": 4, "batch": 64, "tokens": 64 * 12, "length": 32, "progress": False}


@pytest.fixture(scope="module")
def mamba():
    return wb.load("zoo:mamba")


def test_a_residual_stream_of_a_recurrent_model(mamba, tmp_path):
    sae = train_sae(mamba, TEXTS, "blocks.2.hook_resid_post", folder=tmp_path, **SMALL)
    assert (sae.cfg.hook, sae.cfg.model_name, sae.cfg.d_in) == ("blocks.2.hook_resid_post", "zoo:mamba", 128)
    assert sae.cfg.details["context_size"] == 32 and sae.cfg.details["trained"]["vectors"] == 64 * 12
    vectors = mamba.run_with_cache(mamba.to_tokens(TEXTS[0]), names_filter="blocks.2.hook_resid_post")[1]
    x = vectors["blocks.2.hook_resid_post"][0]
    assert float((sae(x) - x).pow(2).sum() / (x - x.mean(0)).pow(2).sum()) < 1
    assert (sae.encode(x) > 0).sum(-1).max() <= 4
    load_sae(tmp_path, model=mamba)
    again = train_sae(mamba, TEXTS, "blocks.2.hook_resid_post", **SMALL)
    assert torch.equal(again.W_dec, sae.W_dec)


def test_a_first_token_like_no_other_is_told_and_left_out(mamba, monkeypatch):
    """Of a model whose first vectors are made long; without them the autoencoder is the one of other tokens alone."""
    few = {**SMALL, "tokens": 128, "windows": 4}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_sae(mamba, TEXTS, "blocks.0.hook_resid_post", **few)

    def long(tensor, hook):
        return tensor if mamba.past else torch.cat([tensor[:, :1] * 40, tensor[:, 1:]], 1)

    with mamba.hooks(fwd_hooks=[("blocks.0.hook_resid_post", long)]):
        with pytest.warns(UserWarning, match=r"vectors \d\d times as long as the others"):
            train_sae(mamba, TEXTS, "blocks.0.hook_resid_post", **few)
        without = train_sae(mamba, TEXTS, "blocks.0.hook_resid_post", first=1, **few)
    assert without.cfg.details["first"] == 1
    assert torch.equal(without.W_dec, train_sae(mamba, TEXTS, "blocks.0.hook_resid_post", first=1, **few).W_dec)


def test_a_state_in_a_subspace_at_some_tokens(mamba, tmp_path):
    width = VectorSite.of(mamba, "blocks.1.mixer.hook_state").width(mamba)
    basis = torch.linalg.qr(torch.randn(width, 6, generator=torch.Generator().manual_seed(0)))[0].T.contiguous()
    site = VectorSite.of(mamba, "blocks.1.mixer.hook_state", every=8, basis=basis)
    sae = train_sae(mamba, TEXTS, site, folder=tmp_path, **{**SMALL, "batch": 16, "tokens": 64})
    assert (sae.cfg.d_in, sae.cfg.every) == (6, 8) and torch.equal(sae.basis, basis)
    again = load_sae(tmp_path)
    assert torch.equal(again.basis, basis) and again.site(mamba).every == 8
    assert again.cfg.details["recurrent"] is True


def test_a_rank_is_the_principal_components_and_stays_the_same_where_it_goes_on(mamba, tmp_path, monkeypatch):
    site = VectorSite.of(mamba, "blocks.1.mixer.hook_state", head=3, every=4)
    asked = {**SMALL, "batch": 16, "tokens": 96, "rank": 5, "folder": tmp_path, "checkpoint_steps": 2}
    rows = torch.cat([found.values[0] for found in read_rows(mamba, TextSource(TEXTS, 32, seed=0), site)]).double()
    _, values, components = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    whole = train_sae(mamba, TEXTS, site, **{**asked, "folder": tmp_path / "whole"})
    overlap = (whole.basis.double() @ components[:5].T).abs()
    torch.testing.assert_close(overlap, torch.eye(5, dtype=torch.float64), atol=1e-3, rtol=0)
    share = float(values[:5].square().sum() / values.square().sum())
    assert whole.cfg.d_in == 5 and whole.cfg.details["subspace"]["explained"] == pytest.approx(share, abs=1e-4)
    assert load_sae(tmp_path / "whole").cfg.details["subspace"] == whole.cfg.details["subspace"]

    advance = SaeTraining.advance

    def cut(self, *given):
        if self.step == 4:
            raise KeyboardInterrupt
        return advance(self, *given)

    monkeypatch.setattr(SaeTraining, "advance", cut)
    with pytest.raises(KeyboardInterrupt):
        train_sae(mamba, TEXTS, site, **asked)
    monkeypatch.undo()
    # Nobody fits a basis anew.
    monkeypatch.setattr("workbench.saes.training.subspace.fit_basis", None)
    again = train_sae(mamba, TEXTS, site, **asked)
    assert torch.equal(again.basis, whole.basis) and torch.equal(again.W_dec, whole.W_dec)
    with pytest.raises(InputError, match="has rank 5 and not 6"):
        train_sae(mamba, TEXTS, site, **{**asked, "rank": 6})
    for wrong, says in (
        ({"target": "blocks.1.mixer.hook_out"}, "same tokens"),
        ({"source": iter(TEXTS)}, "read once only"),
        ({"site": VectorSite(site.hook, 3, 4, whole.basis)}, "a site with a basis"),
    ):
        with pytest.raises(InputError, match=says):
            train_sae(mamba, **{**asked, "source": TEXTS, "site": site, **wrong})


def test_a_transcoder_of_a_mixer(mamba, tmp_path):
    sae = train_sae(
        mamba, TEXTS, "blocks.1.mixer.hook_in", target="blocks.1.mixer.hook_out", architecture="batchtopk",
        folder=tmp_path, **SMALL,
    )  # fmt: skip
    assert sae.cfg.architecture == "jumprelu_transcoder"
    assert (sae.site(mamba).hook, sae.site_out(mamba).hook) == ("blocks.1.mixer.hook_in", "blocks.1.mixer.hook_out")
    one = VectorSite.of(mamba, "blocks.1.mixer.hook_z", head=0)
    with pytest.raises(InputError, match="same head"):
        train_sae(mamba, TEXTS, one, target="blocks.1.mixer.hook_out", **SMALL)


def test_cut_off_in_the_middle_of_a_text_it_goes_on_to_the_same_weights(mamba, tmp_path, monkeypatch):
    whole = train_sae(mamba, TEXTS, "blocks.2.hook_resid_post", **SMALL)
    advance = SaeTraining.advance

    def cut(self, batch, where=None):
        if self.step == 8:
            raise KeyboardInterrupt
        return advance(self, batch, where)

    monkeypatch.setattr(SaeTraining, "advance", cut)
    with pytest.raises(KeyboardInterrupt):
        train_sae(mamba, TEXTS, "blocks.2.hook_resid_post", folder=tmp_path, checkpoint_steps=3, **SMALL)
    monkeypatch.setattr(SaeTraining, "advance", advance)
    sae = train_sae(mamba, TEXTS, "blocks.2.hook_resid_post", folder=tmp_path, **SMALL)
    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in sae.state_dict().items())


def test_what_cannot_be_trained_on_is_one_sentence(mamba):
    for hook, texts, more, error, says in (
        ("blocks.9.hook_resid_post", TEXTS, {}, HookNameError, "No hook point matches"),
        ("hook_resid_post", TEXTS, {}, InputError, "means 4 hooks"),
        ("blocks.1.hook_resid_post", [""], {}, InputError, "no text"),
        ("blocks.1.hook_resid_post", TEXTS, {"colour": 3}, InputError, "no setting 'colour'"),
    ):
        with pytest.raises(error, match=says):
            train_sae(mamba, texts, hook, **{**SMALL, **more})
    with pytest.warns(UserWarning, match="The vectors ended after"):
        train_sae(mamba, TextSource(TEXTS[:3], 32), "blocks.1.hook_resid_post", **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train_sae(mamba, ["A tiny corpus."], "blocks.1.hook_resid_post", **SMALL)
