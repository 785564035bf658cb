"""On softmax heads the scores are those of TransformerLens' head detector, and of the patterns themselves."""

import functools

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from workbench.model import HookedModel
from workbench.probes import find_heads
from workbench.tasks import repeated_random_tokens

DETECTORS = {
    "previous_token": "get_previous_token_head_detection_pattern",
    "duplicate_token": "get_duplicate_token_head_detection_pattern",
    "induction": "get_induction_head_detection_pattern",
}


@functools.cache
def llama(groups: int = 2) -> HookedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=groups,
        initializer_range=0.4,  # sharp patterns, so that the scores differ
    )
    return HookedModel(LlamaForCausalLM(config))


@pytest.mark.parametrize(("bos", "groups"), [(None, 4), (1, 2), (None, 1)])
@pytest.mark.parametrize("kind", DETECTORS)
def test_scores_agree_with_the_head_detector_of_transformer_lens(kind: str, bos: int | None, groups: int) -> None:
    from transformer_lens import head_detector

    model, block = llama(groups), 10
    task = repeated_random_tokens(model, block, batch=3, seed=5, bos=bos)
    table = find_heads(model, kind, seeds=[5], batch=3, block=block, bos=bos).set_index(["layer", "head"])
    _, cache = model.run_with_cache(task.tokens, names_filter="hook_pattern")
    for layer in range(2):
        pattern = cache[f"blocks.{layer}.mixer.hook_pattern"]
        for head in range(4):
            theirs = []
            for sequence in range(3):
                defining = getattr(head_detector, DETECTORS[kind])(task.tokens[sequence : sequence + 1])
                share = head_detector.compute_head_attention_similarity_score(
                    pattern[sequence, head],
                    detection_pattern=defining,
                    exclude_bos=False,
                    exclude_current_token=False,
                    error_measure="mul",
                )
                # Theirs is a share of all attention; only some rows have a defining source at all.
                theirs.append(share * task.time / float(defining.sum()))
            assert table.loc[(layer, head), "score"] == pytest.approx(sum(theirs) / 3, abs=1e-4)


def test_energy_shares_are_those_of_the_dense_pattern() -> None:
    model, block = llama(), 8
    task = repeated_random_tokens(model, block, batch=2, seed=1)
    table = find_heads(model, "induction", seeds=[1], batch=2, block=block, normalise="energy")
    _, cache = model.run_with_cache(task.tokens, names_filter="hook_pattern")
    for row in table.itertuples():
        pattern = cache[f"blocks.{row.layer}.mixer.hook_pattern"][:, row.head]
        share = pattern.square() / pattern.square().sum(-1, keepdim=True)
        expected = torch.stack([share[:, t, t - block + 1] for t in range(block, 2 * block)]).mean()
        assert row.score == pytest.approx(float(expected.detach()), abs=1e-5)


def test_scores_of_several_seeds_are_the_mean_over_all_sequences() -> None:
    together = find_heads(llama(), "induction", seeds=[3, 4], batch=2, block=8).set_index(["layer", "head"])
    apart = [find_heads(llama(), "induction", seeds=[s], batch=2, block=8).set_index(["layer", "head"]) for s in (3, 4)]
    expected = (apart[0].score + apart[1].score) / 2
    assert (together.score - expected.loc[together.index]).abs().max() < 1e-7
    assert (together.low <= together.score).all() and (together.score <= together.high).all()
    assert (together.high - together.low > 0).all()
