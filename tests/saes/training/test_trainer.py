"""Trainings are SAELens', go on after any cut as if there had been none, and stop at the first number that is none."""

import functools
import itertools
import json
import signal
import subprocess
import sys
import time

import pytest
import sae_lens
import torch
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer

from workbench.errors import DivergenceError, InputError, LoadError, NotFiniteError
from workbench.saes import load_sae
from workbench.saes.training import SaeTraining, SaeTrainingOptions, training_figure, training_history
from workbench.saes.training.classes import training_sae

D_IN, D_OUT, D_SAE, BATCH = 16, 10, 48, 64
KINDS = ["topk", "batchtopk", "matryoshka_batchtopk", "jumprelu", "gated", "standard"]


def directions(seed=5, count=32):
    found = torch.randn(count, D_IN, generator=torch.Generator().manual_seed(seed))
    return found / found.norm(dim=-1, keepdim=True)


@functools.cache
def _batch(number, scale):
    generator = torch.Generator().manual_seed(1000 + number)
    active = (torch.rand(BATCH, 32, generator=generator) < 0.06) * torch.rand(BATCH, 32, generator=generator)
    return scale * active @ directions() + 0.01 * torch.randn(BATCH, D_IN, generator=generator)


def batches(start=0, scale=3.0, dtype=torch.float32):
    """Vectors that are sums of a few directions, without end, from a batch on."""
    for number in itertools.count(start):
        yield _batch(number, scale).to(dtype, copy=True)


def pairs():
    onto = torch.randn(D_IN, D_OUT, generator=torch.Generator().manual_seed(6))
    for x in batches():
        yield x, 7 * (x.relu() @ onto)


def options(kind="topk", steps=60, **more):
    k = {"k": 4} if "topk" in kind else {}
    settings = {"d_sae": D_SAE, "batch": BATCH, "tokens": steps * BATCH, "learning_rate": 3e-3, **k, **more}
    return SaeTrainingOptions(kind, **settings)


def weights(sae):
    return dict(sae.state_dict())


def same(one, two):
    return all(torch.equal(tensor, weights(two)[name]) for name, tensor in weights(one).items())


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_learns_and_is_what_saelens_loads(kind, tmp_path):
    # The penalties are meant for far longer trainings than this.
    training = SaeTraining(
        options(kind, 120, sparsity=0.3, more={"jumprelu_init_threshold": 0.05} if kind == "jumprelu" else {}),
        D_IN, folder=tmp_path, origin={"hook": "blocks.1.mixer.hook_out", "every": 2, "model_name": "a model"},
    )  # fmt: skip
    sae = training.run(batches())
    table = training_history(tmp_path)
    assert list(table["step"]) == list(range(10, 121, 10)) and table["vectors"].iloc[-1] == 120 * BATCH
    assert table["explained_variance"].iloc[-1] > max(0.5, table["explained_variance"].iloc[0] + 0.1)
    x = next(batches(10_000))
    with torch.no_grad():
        error = (sae(x) - x).pow(2).sum() / (x - x.mean(0)).pow(2).sum()
        assert abs((1 - float(error)) - table["explained_variance"].iloc[-1]) < 0.2
        peer = sae_lens.SAE.load_from_disk(tmp_path)
        assert peer.cfg.metadata.hook_name == "blocks.1.hook_attn_out"
        torch.testing.assert_close(peer(x), sae(x), atol=1e-5, rtol=1e-5)
    again = load_sae(tmp_path)
    assert same(again, sae) and (again.cfg.hook, again.cfg.every) == ("blocks.1.mixer.hook_out", 2)
    assert again.cfg.details["training_architecture"] == kind
    # What it was trained as computes the same, in units in which the mean norm is sqrt(d_in).
    scale = training.scales[0]
    if kind in ("topk", "gated", "standard", "jumprelu"):
        with torch.no_grad():
            given = training.trainer.sae.encode(scale * x)
            out = training.trainer.sae.decode(given) / scale
        torch.testing.assert_close(sae(x), out, atol=1e-5, rtol=1e-4)
    # SAELens' own last steps: the scale put into the weights, the norms too, the threshold spelled out.
    training.trainer.sae.fold_activation_norm_scaling_factor(scale)
    training.trainer.sae.save_inference_model(tmp_path / "theirs")
    with torch.no_grad():
        theirs = sae_lens.SAE.load_from_disk(tmp_path / "theirs")
        torch.testing.assert_close(sae.encode(x), theirs.encode(x), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(sae(x), theirs(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_of_saelens_own_trainer(kind):
    steps = 25
    # Dead after 5 steps, so that the dead are revived, too.
    wanted = options(kind, steps, normalise=False, centre=False, dtype="float64", dead_window=5, warm_up=0.2)
    training = SaeTraining(wanted, D_IN, progress=False)
    sae = training_sae(
        SaeTrainingOptions(**{**wanted.plain(), "sparse": False}), D_IN
    )  # the same first weights, in SAELens' own class
    assert type(sae).__module__.startswith("sae_lens")
    cfg = SAETrainerConfig(
        total_training_samples=steps * BATCH,
        train_batch_size_samples=BATCH,
        lr=wanted.rate,
        lr_end=wanted.rate / 10,
        lr_warm_up_steps=5,
        lr_decay_steps=5,
        dead_feature_window=5,
    )
    SAETrainer(cfg, sae, data_provider=batches(dtype=torch.float64)).fit()
    training.run(batches(dtype=torch.float64))
    assert bool(training.trainer.dead_neurons.any()) or "topk" not in kind
    for name, tensor in sae.state_dict().items():
        torch.testing.assert_close(training.trainer.sae.state_dict()[name], tensor, atol=1e-8, rtol=0, msg=name)


@pytest.mark.parametrize(
    ("kind", "skip"),
    [("topk", True), ("batchtopk", False), ("batchtopk", True), ("jumprelu", True), ("standard", False)],
)
def test_transcoders_learn_and_are_what_saelens_loads(kind, skip, tmp_path):
    training = SaeTraining(
        options(kind, 120, skip=skip, sparsity=0.1),
        D_IN,
        d_out=D_OUT,
        folder=tmp_path,
        origin={"hook": "a", "hook_out": "b"},
    )
    sae = training.run(pairs())
    x, y = next(pairs())
    with torch.no_grad():
        out = sae.decode(sae.encode(x), x)
        assert float((out - y).pow(2).sum() / (y - y.mean(0)).pow(2).sum()) < 0.5
        assert sae.cfg.skips == skip and sae.cfg.hook_out == "b"
        if kind != "topk":
            torch.testing.assert_close(sae_lens.SAE.load_from_disk(tmp_path)(x), out, atol=1e-4, rtol=1e-4)
        (into, onto), made = training.scales, training.trainer.sae
        step = sae_lens.saes.sae.TrainStepInput(
            torch.cat([x * into, y * onto], -1), {"l1": 1.0, "l0": 1.0}, None, 0, False
        )
        if kind != "batchtopk":  # which keeps other features than its threshold does
            torch.testing.assert_close(made.training_forward_pass(step).sae_out / onto, out, atol=1e-4, rtol=1e-4)
    assert same(load_sae(tmp_path), sae)


class Cut(Exception):
    pass


class Stream:
    """An iterator that can be set to where it was, and ends in an error at a step."""

    def __init__(self, cut=None):
        self.at, self.cut, self.where = 0, cut, "shard 3"

    def __iter__(self):
        return self

    def __next__(self):
        if self.at == self.cut:
            raise Cut
        self.at += 1
        return next(batches(self.at - 1))

    def state(self):
        return {"at": torch.tensor(self.at), "nested": [{"at": self.at}]}

    def resume(self, state):
        assert int(state["at"]) == state["nested"][0]["at"]
        self.at = int(state["at"])


@pytest.mark.parametrize(("kind", "stream"), [*((kind, True) for kind in KINDS), ("topk", False)])
def test_a_training_cut_off_ends_with_the_same_weights(kind, stream, tmp_path):
    def source(cut=None):
        return (
            Stream(cut) if stream else itertools.chain(itertools.islice(batches(), cut), iter(Stream(0) if cut else ()))
        )

    wanted = options(kind, 30, dead_window=8)
    whole = SaeTraining(wanted, D_IN, progress=False).run(source())
    for cut in (12, 21):
        with pytest.raises(Cut):
            SaeTraining(wanted, D_IN, folder=tmp_path, checkpoint_steps=5, progress=False).run(source(cut))
        assert {file.name for file in tmp_path.iterdir()} == {"training.json", "training.safetensors", "history.jsonl"}
    again = SaeTraining(wanted, D_IN, folder=tmp_path, progress=False)
    assert same(again.run(source()), whole)
    assert list(training_history(tmp_path)["step"]) == [10, 20, 30]
    # What is finished is read, not trained again.
    assert same(SaeTraining(wanted, D_IN, folder=tmp_path, progress=False).run(iter(())), whole)


KILLED = """
import sys
from tests.saes.training.test_trainer import D_IN, SaeTraining, batches, options
import time
def slow():
    for number, batch in enumerate(batches()):
        if number == 12:
            print("on its way", flush=True)
        time.sleep(0.02)
        yield batch
SaeTraining(options(steps=120), D_IN, folder=sys.argv[1], checkpoint_steps=3, progress=False).run(slow())
"""


def test_a_process_killed_at_any_moment_loses_nothing(tmp_path):
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "on its way\n"
        time.sleep(0.33)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    training = SaeTraining(options(steps=120), D_IN, folder=tmp_path, progress=False)
    sae = training.run(batches())
    assert same(sae, SaeTraining(options(steps=120), D_IN, progress=False).run(batches()))


def test_seeds_reproduce(tmp_path):
    one, two, other = (SaeTraining(options(steps=5, seed=seed), D_IN).run(batches()) for seed in (0, 0, 1))
    assert same(one, two) and not same(one, other)


def test_numbers_that_are_none_stop_it_and_keep_the_checkpoint(tmp_path):
    stream = Stream()

    class Bad(Stream):
        def __next__(self):
            batch = super().__next__()
            if self.at == 8:
                batch[5, 3] = torch.inf
            return batch

    with pytest.raises(NotFiniteError, match=r"step 7 hold NaN or an infinity in row 5 of 64, shard 3\. The last good"):
        SaeTraining(options(), D_IN, folder=tmp_path, checkpoint_steps=2).run(Bad())
    resumed = SaeTraining(options(), D_IN, folder=tmp_path)
    assert same(resumed.run(stream), SaeTraining(options(), D_IN).run(batches()))
    with pytest.raises(DivergenceError, match=r"is not finite .*smaller learning rate.* There is no checkpoint yet"):
        SaeTraining(options(learning_rate=1e30, warm_up=0), D_IN, folder=tmp_path / "b").run(batches())


def test_checkpoints_hold_no_pickle(tmp_path):
    with pytest.raises(Cut):
        SaeTraining(options(), D_IN, folder=tmp_path, checkpoint_steps=5).run(Stream(12))
    with (tmp_path / "training.safetensors").open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        held = json.loads(file.read(length))
    assert "stream.0" in held and json.loads(held["__metadata__"]["training"])["stream"]["nested"] == [{"at": 10}]
    (tmp_path / "training.safetensors").write_bytes(b"nothing")
    with pytest.raises(LoadError, match="corrupt or truncated"):
        SaeTraining(options(), D_IN, folder=tmp_path).run(Stream())


def test_other_options_do_not_go_on(tmp_path):
    with pytest.raises(Cut):
        SaeTraining(options(), D_IN, folder=tmp_path, checkpoint_steps=5).run(Stream(12))
    with pytest.raises(InputError, match="has k 4 and not 5; choose another folder"):
        SaeTraining(options(k=5), D_IN, folder=tmp_path).run(Stream())
    fresh = SaeTraining(options(k=5, steps=3), D_IN, folder=tmp_path).run(Stream(), resume=False)
    assert fresh.cfg.k == 5


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"architecture": "vanilla"}, "No architecture 'vanilla' can be trained"),
        ({"k": 0}, "k is 0"),
        ({"k": 2.5}, "whole number"),
        ({"tokens": 10}, "do not fill one batch"),
        ({"warm_up": 0.9, "decay": 0.3}, "shares of the steps"),
        ({"learning_rate": 0.0}, "learning rate is 0.0"),
        ({"dtype": "bfloat16"}, "float32 or float64"),
        ({"more": {"colour": 1}}, "topk training has no setting 'colour'"),
        ({"more": {"normalize_activations": "covariance_whitening"}}, "normalise=True"),
    ],
)
def test_wrong_options_are_one_sentence(settings, says):
    with pytest.raises(InputError, match=says):
        SaeTraining(SaeTrainingOptions(**{"architecture": "topk", "d_sae": 30, "k": 3, **settings}), D_IN)


def test_wrong_vectors_are_one_sentence():
    training = SaeTraining(options(steps=3), D_IN)
    with pytest.raises(InputError, match=r"step 0 have shape \[64, 17\]; \[batch, 16\] is needed"):
        training.run(iter([torch.ones(64, 17)]))
    with pytest.raises(InputError, match="not a single batch"):
        training.run(iter([]))
    with pytest.raises(InputError, match="All vectors are equal"):
        training.run(iter([torch.zeros(64, D_IN)]))
    with pytest.raises(InputError, match=r"No transcoder is trained with 'gated'"):
        SaeTraining(options("gated"), D_IN, d_out=3)
    with pytest.warns(UserWarning, match="ended after 2 of 3 steps"):
        SaeTraining(options(steps=3), D_IN).run(itertools.islice(batches(), 2))


def test_the_figure_shows_the_history():
    training = SaeTraining(options(), D_IN)
    training.run(batches())
    figure = training_figure(training.table())
    assert list(figure.data[0].y) == list(training.table()["explained_variance"])
    assert {title.text for title in figure.layout.annotations} >= {"loss", "dead features"}


def shifted(by=20.0):
    mean = torch.randn(D_IN, generator=torch.Generator().manual_seed(8)) * by
    return (batch + mean for batch in batches())


def test_vectors_with_a_large_mean_are_centred_first():
    """The mean is the decoder's bias from the start, and the features are for what differs."""
    found = {}
    for centre in (True, False):
        training = SaeTraining(options(centre=centre, dead_window=50), D_IN, progress=False)
        training.run(shifted())
        found[centre] = training.table().iloc[-1]
    assert found[True]["explained_variance"] > found[False]["explained_variance"] + 0.2
    assert found[True]["dead"] <= found[False]["dead"]


def test_a_transcoder_begins_as_if_both_means_were_nought():
    mean_in, mean_out = torch.full((D_IN,), 30.0), torch.full((D_OUT,), -4.0)
    given = [(x + mean_in, y + mean_out) for x, y in itertools.islice(pairs(), 1)]
    [(x, y)] = given
    training = SaeTraining(options(steps=1, normalise=False, learning_rate=1e-12), D_IN, d_out=D_OUT, progress=False)
    sae = training.run(given)
    with torch.no_grad():
        torch.testing.assert_close(sae.b_dec, y.mean(0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            sae.preactivations(x), (x - x.mean(0)) @ sae.W_enc, atol=1e-3, rtol=1e-4
        )  # float32 of vectors whose mean is 30
