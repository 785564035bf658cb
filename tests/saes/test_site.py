"""A site reads one vector a token from any hook, and an edit written back changes that and nothing else."""

import pytest
import torch

import workbench as wb
from workbench.errors import HookNameError, InputError
from workbench.saes import VectorSite
from workbench.saes.site import read_vectors

TEXT = "The meeting began at noon, and nobody was late."
SITES = [
    ("zoo:attention", "blocks.1.hook_resid_post", {}),
    ("zoo:attention", "blocks.1.mixer.hook_z", {"head": 2}),
    ("zoo:gated_delta", "blocks.2.mixer.hook_out", {"every": 3}),
    ("zoo:mamba2", "blocks.1.mixer.hook_state", {"every": 4}),
    ("zoo:mamba", "blocks.1.mixer.hook_state", {"head": 5}),
    ("zoo:lstm", "blocks.0.mixer.hook_state", {"every": 2}),
]


@pytest.fixture(scope="module", params=SITES, ids=lambda site: f"{site[0]}-{site[1]}-{site[2]}")
def placed(request):
    name, hook, options = request.param
    model = wb.load(name, dtype=torch.float64)
    return model, VectorSite.of(model, hook, **options)


def recorded(model, site, tokens, fwd_hooks=()):
    """Every vector of the site, ``[batch, time, d_in]``, from a plain hook and the tensor's own axes."""
    seen = []
    model.run_with_hooks(
        tokens, fwd_hooks=[*fwd_hooks, (site.hook, lambda tensor, hook: seen.append(tensor))], return_type=None
    )
    whole = torch.stack(seen, 1) if len(seen) > 1 else seen[0]
    if site.head is not None:
        whole = whole[:, :, site.head]
    return whole.flatten(2)


@torch.no_grad()
def test_vectors_read_are_what_passes(placed):
    model, site = placed
    tokens = model.to_tokens(TEXT)
    seen = []
    model.run_with_hooks(
        tokens,
        fwd_hooks=[site.reader(model, lambda vectors, hook: seen.append(vectors))],
        return_type=None,
    )
    got = torch.stack(seen, 1) if seen[0].dim() == 2 else seen[0]
    want = recorded(model, site, tokens)[:, list(site.positions(tokens.shape[1]))]
    assert got.shape[-1] == site.width(model)
    torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_a_hook_of_the_last_block_is_read_without_the_unembedding():
    model = wb.load("zoo:gru")
    tokens = model.to_tokens(TEXT)
    hook = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    want = model.run_with_cache(tokens, hook)[1][hook]
    unembedded = []
    handle = model.wrapped.unembed.register_forward_hook(lambda *_: unembedded.append(True))
    site = VectorSite.of(model, hook)
    assert site.width(model) == model.cfg.d_model
    (found,), _ = read_vectors(model, tokens, [site])
    assert not unembedded
    torch.testing.assert_close(found, want, atol=0, rtol=0)
    assert read_vectors(model, tokens, [site], to_the_end=True)[1] is not None and unembedded
    handle.remove()


@torch.no_grad()
def test_an_edit_changes_the_vectors_that_are_read_and_no_others(placed):
    model, site = placed
    tokens = model.to_tokens(TEXT)
    time = tokens.shape[1]
    before = recorded(model, site, tokens)
    edit = site.editor(model, lambda vectors: torch.full_like(vectors, 7.0))
    after = recorded(model, site, tokens, [edit])
    read = list(site.positions(time))
    assert (after[:, read] == 7).all()
    others = [position for position in range(time) if position not in read]
    if model.points[site.hook].per_step:  # what was put into a state is still there in the next one
        others = [position for position in others if position < site.every - 1]
    torch.testing.assert_close(after[:, others], before[:, others], atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_a_basis_is_all_that_an_edit_moves(placed):
    model, whole = placed
    if whole.every > 1:
        whole = VectorSite.of(model, whole.hook, head=whole.head)
    tokens = model.to_tokens(TEXT)[:, :3]
    basis = torch.linalg.qr(torch.randn(whole.width(model), 3, dtype=torch.float64))[0].T
    site = VectorSite.of(model, whole.hook, head=whole.head, basis=basis)
    assert site.width(model) == 3
    before = recorded(model, whole, tokens)[:, 0]
    after = recorded(model, whole, tokens, [site.editor(model, lambda vectors: vectors + 2)])[:, 0]
    torch.testing.assert_close(after - before, basis.sum(0).mul(2).expand_as(after), atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_edits_while_generating_fall_on_the_same_tokens():
    """One token in three, counted from the start of the text, whether the text comes at once or token by token."""
    model = wb.load("zoo:attention")
    tokens = model.to_tokens(TEXT)[:, :10]
    site = VectorSite.of(model, "blocks.1.hook_resid_post", every=3)
    counted = []

    def note(vectors):
        counted.append(vectors.shape[1])
        return vectors

    with model.hooks(fwd_hooks=[site.editor(model, note)]):
        model.generate(tokens, max_new_tokens=7, temperature=0.0)
    assert counted[0] == len(range(2, 10, 3))
    assert counted[1:] == [1, 1]  # tokens 11 and 14; the 17th and last is never read


@pytest.mark.parametrize(
    ("hook", "options", "error", "says"),
    [
        ("blocks.1.hook_resid_pots", {}, HookNameError, "hook_resid_post"),
        ("mixer.hook_out", {}, InputError, "means 4 hooks"),
        ("blocks.1.mixer.hook_pattern", {}, InputError, "one vector a token"),
        ("blocks.1.hook_resid_post", {"head": 0}, InputError, "not split into heads"),
        ("blocks.1.hook_resid_post", {"every": 0}, InputError, "every is 0"),
        ("blocks.1.hook_resid_post", {"basis": torch.ones(2, 128)}, InputError, "orthonormal"),
    ],
)
def test_what_is_no_site_is_refused(hook, options, error, says):
    with pytest.raises(error, match=says):
        VectorSite.of(wb.load("zoo:attention"), hook, **options)


def test_a_head_out_of_range_is_named():
    model = wb.load("zoo:attention")
    with pytest.raises(InputError, match="Head 9 is out of range"):
        VectorSite.of(model, "blocks.1.mixer.hook_z", head=9).width(model)
