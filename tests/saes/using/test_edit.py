"""An edit moves the features it names, at the tokens it names, along their directions, and nothing else."""

import pytest
import torch

from tests.saes.using.hand_made import TEXT, random_sae, zoo
from workbench.errors import InputError
from workbench.interventions import Steer
from workbench.saes import FeatureEdit, read_features

PLACES = [
    ("attention", "blocks.1.hook_resid_post", {}),
    ("gated_delta", "blocks.2.mixer.hook_z", {"head": 1}),
    ("mamba2", "blocks.1.mixer.hook_state", {"every": 4, "head": 2}),
    ("lstm", "blocks.1.mixer.hook_state", {"every": 3}),
]


@pytest.fixture(scope="module", params=PLACES, ids=lambda place: f"{place[0]}-{place[1]}")
def placed(request):
    name, hook, options = request.param
    model = zoo(name)
    return model, random_sae(model, hook, **options), model.to_tokens(TEXT)


def vectors(model, sae, tokens, hooks=()):
    """What passes at the autoencoder's place, ``[positions, d_in]``, read by a plain hook that comes last."""
    site = sae.site(model)
    seen = []

    def look(tensor, hook):
        if hook.step is None:
            seen.extend(site.read(tensor, hook)[0, site.every - 1 :: site.every])
        elif hook.step % site.every == site.every - 1:
            seen.append(site.read(tensor, hook)[0])

    model.run_with_hooks(tokens, fwd_hooks=[*hooks, (site.hook, look)], return_type=None)
    return torch.stack(seen)


@torch.no_grad()
@pytest.mark.parametrize("known", [True, False], ids=["tokens-known", "tokens-unknown"])
def test_each_edit_at_one_token_moves_that_token_along_the_features(placed, known):
    model, sae, tokens = placed
    before = vectors(model, sae, tokens)
    row = 1
    at = sae.site(model).positions(tokens.shape[1])[row]
    x = before[row]
    f = (x @ sae.W_enc + sae.b_enc).relu()
    active = f.argsort(descending=True)[:2].tolist()
    other = int(f.argmin())
    means = torch.linspace(0, 1, sae.cfg.d_sae)
    edits = {
        FeatureEdit.clamp(sae, {active[0]: 2.5, other: 1.5}, at): {
            active[0]: 2.5 - f[active[0]],
            other: 1.5 - f[other],
        },
        FeatureEdit.clamp(sae, {other: 3}, at, maxima=[0.5] * 24): {other: 1.5 - f[other]},
        FeatureEdit.add(sae, {active[1]: -4}, at): {active[1]: -4},
        FeatureEdit.ablate(sae, active, at): {one: -f[one] for one in active},
        FeatureEdit.ablate(sae, [active[0]], at, means=means): {active[0]: means[active[0]] - f[active[0]]},
        FeatureEdit.ablate(sae, [active[0]], at).then(FeatureEdit.add(sae, {active[0]: 7}, at)): {
            active[0]: 7 - f[active[0]]
        },
    }
    for edit, moves in edits.items():
        hooks = edit.hooks(model, tokens if known else None)
        after = vectors(model, sae, tokens, hooks)
        want = x + sum(by * sae.W_dec[feature] for feature, by in moves.items())
        torch.testing.assert_close(after[row], want, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(after[:row], before[:row], atol=1e-9, rtol=1e-9)
        if not model.points[sae.cfg.hook].per_step:
            torch.testing.assert_close(after[row + 1 :], before[row + 1 :], atol=1e-9, rtol=1e-9)
        else:
            assert (after[row + 1] - before[row + 1]).abs().max() > 1e-6  # a state remembers


@torch.no_grad()
def test_patched_features_are_those_of_the_other_run(placed):
    model, sae, tokens = placed
    other = model.to_tokens("Yesterday, it rained in the morning and snowed.")[:, : tokens.shape[1]]
    site = sae.site(model)
    places = site.positions(other.shape[1])
    theirs = (vectors(model, sae, other) @ sae.W_enc + sae.b_enc).relu()
    here, there, some = 0, 2, [3, 5, 8]
    edit = FeatureEdit.patch(sae, some, other, places[here], source_positions=places[there])
    before = vectors(model, sae, tokens)
    f = (before[here] @ sae.W_enc + sae.b_enc).relu()
    after = vectors(model, sae, tokens, edit.hooks(model, tokens))
    want = before[here] + (theirs[there, some] - f[some]) @ sae.W_dec[some]
    torch.testing.assert_close(after[here], want, atol=1e-9, rtol=1e-9)
    own = FeatureEdit.patch(sae, None, tokens)
    # Step by step and in chunks a recurrence rounds differently, and an encoder's threshold may amplify it.
    torch.testing.assert_close(vectors(model, sae, tokens, own.hooks(model, tokens)), before, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rows_have_positions_and_donors_of_their_own():
    model = zoo("attention")
    sae = random_sae(model, "blocks.1.hook_resid_post")
    tokens = model.to_tokens(TEXT)[:, :8].repeat(2, 1)
    other = tokens.flip(1).clone()
    other[1, 0] = 7
    theirs, mine = read_features(model, sae, other), read_features(model, sae, tokens)
    edit = FeatureEdit.patch(
        sae, [4], other, torch.tensor([[2, 3], [5, 6]]), source_positions=torch.tensor([[0, 1], [6, 7]])
    )
    site = sae.site(model)
    before, after = (_whole(model, site, tokens, hooks) for hooks in ([], edit.hooks(model, tokens)))
    moved = torch.zeros(2, 8, dtype=torch.float64)
    for row, (places, sources) in enumerate([((2, 3), (0, 1)), ((5, 6), (6, 7))]):
        for place, source in zip(places, sources, strict=True):
            moved[row, place] = theirs[row, source, 4] - mine[row, place, 4]
    assert moved.abs().sum() > 0.1
    torch.testing.assert_close(after - before, moved[..., None] * sae.W_dec[4], atol=1e-9, rtol=1e-9)


def _whole(model, site, tokens, hooks):
    seen = []
    model.run_with_hooks(tokens, fwd_hooks=[*hooks, (site.hook, lambda tensor, hook: seen.append(tensor))])
    return seen[0]


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "hook", "every", "strength"),
    [("attention", "blocks.1.hook_resid_post", 3, 60.0), ("mamba2", "blocks.1.mixer.hook_state", 4, 1e6)],
)
def test_generation_is_steered_token_by_token_as_a_whole_text_is(name, hook, every, strength):
    """With and without the cache the same text comes out, and not the unsteered one."""
    model = zoo(name)
    sae = random_sae(model, hook, every=every)
    tokens = model.to_tokens(TEXT)
    edit = FeatureEdit.add(sae, {2: strength, 5: -strength})
    written = {}
    for cached in (True, False):
        with edit.applied(model, tokens):
            written[cached] = model.generate(tokens, 12, use_cache=cached)
    assert written[True].tolist() == written[False].tolist()
    assert written[True].tolist() != model.generate(tokens, 12).tolist()
    site = sae.site(model)
    short = FeatureEdit.add(sae, {2: strength}, site.positions(tokens.shape[1])[0])
    with short.applied(model, tokens):
        assert model.generate(tokens, 4).shape[1] == tokens.shape[1] + 4


@torch.no_grad()
def test_an_edit_goes_into_one_run_with_other_interventions():
    model = zoo("gla")
    tokens = model.to_tokens(TEXT)
    sae = random_sae(model, "blocks.1.hook_resid_post")
    late = random_sae(model, "blocks.2.hook_resid_post", seed=1)
    edits = [
        FeatureEdit.clamp(sae, {1: 4.0}),
        Steer(torch.ones(128, dtype=torch.float64), "blocks.1.hook_resid_post", 0.1),
        FeatureEdit.ablate(late, range(24)),
    ]
    hooks = [hook for edit in edits for hook in edit.hooks(model, tokens)]
    got = model.run_with_hooks(tokens, fwd_hooks=hooks)

    def by_hand(x, hook):
        f = (x @ sae.W_enc + sae.b_enc).relu()
        return x + (4 - f[..., 1:2]) * sae.W_dec[1] + 0.1

    def by_hand_late(x, hook):
        return x - (x @ late.W_enc + late.b_enc).relu() @ late.W_dec

    want = model.run_with_hooks(
        tokens, fwd_hooks=[("blocks.1.hook_resid_post", by_hand), ("blocks.2.hook_resid_post", by_hand_late)]
    )
    torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_of_a_transcoder_what_it_predicts_moves():
    model = zoo("attention")
    tokens = model.to_tokens(TEXT)
    sae = random_sae(model, "blocks.1.mixer.hook_in", "transcoder", hook_out="blocks.1.mixer.hook_out")
    before, after = (
        model.run_with_cache(tokens, "blocks.1.mixer.hook_out")[1]["blocks.1.mixer.hook_out"] for _ in range(2)
    )
    with FeatureEdit.add(sae, {3: 2.0}, [1, 4]).applied(model, tokens):
        after = model.run_with_cache(tokens, "blocks.1.mixer.hook_out")[1]["blocks.1.mixer.hook_out"]
    moved = torch.zeros_like(before)
    moved[:, [1, 4]] = 2 * sae.W_dec[3]
    torch.testing.assert_close(after - before, moved, atol=1e-9, rtol=1e-9)


def test_without_the_error_the_reconstruction_stands_there():
    model = zoo("attention")
    tokens = model.to_tokens(TEXT)
    sae = random_sae(model, "blocks.1.hook_resid_post")
    x = vectors(model, sae, tokens)
    f = (x @ sae.W_enc + sae.b_enc).relu()
    f[2, 4] = 9
    after = vectors(model, sae, tokens, FeatureEdit.clamp(sae, {4: 9}, 2, keep_error=False).hooks(model, tokens))
    torch.testing.assert_close(after, f @ sae.W_dec + sae.b_dec, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda sae: FeatureEdit.clamp(sae, {24: 1.0}), "no feature 24; this autoencoder has 0 to 23"),
        (lambda sae: FeatureEdit.clamp(sae, {}), "at least one"),
        (lambda sae: FeatureEdit.clamp(sae, {1: float("nan")}), "Feature 1 cannot be nan"),
        (lambda sae: FeatureEdit.clamp(sae, {1: 2}, maxima=[0.0] * 24), "Feature 1 has a maximum of 0"),
        (lambda sae: FeatureEdit.ablate(sae, [1, 1]), "once each"),
    ],
)
def test_features_that_are_not_there_are_refused(make, says):
    with pytest.raises(InputError, match=says):
        make(random_sae(zoo("attention"), "blocks.1.hook_resid_post"))


def test_positions_that_make_no_sense_are_refused():
    model = zoo("attention")
    tokens = model.to_tokens(TEXT)
    sae = random_sae(model, "blocks.1.hook_resid_post", every=4)
    for edit, given, says in (
        (FeatureEdit.ablate(sae, [1], 5), tokens, r"Position 5 is not read: .* one token in 4 \(3, 7"),
        (FeatureEdit.ablate(sae, [1], -1), None, "count from the end need the tokens"),
        (
            FeatureEdit.patch(sae, [1], tokens, [3, 7], source_positions=3),
            tokens,
            "2 positions are to be patched from 1",
        ),
    ):
        with pytest.raises(InputError, match=says):
            edit.hooks(model, given)
    with pytest.raises(InputError, match="say which belong together"), torch.no_grad():
        model.run_with_hooks(tokens, fwd_hooks=FeatureEdit.patch(sae, [1], tokens[:, :8]).hooks(model))
    with pytest.raises(InputError, match="text has 3"):
        read_features(model, sae, tokens[:, :3])
    with pytest.raises(InputError, match="cannot be joined"):
        FeatureEdit.ablate(sae, [1]).then(FeatureEdit.ablate(random_sae(model, "blocks.1.hook_resid_post"), [1]))
