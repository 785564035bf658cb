"""Copying and successor scores against the weights of a stock Llama, multiplied out by hand."""

import copy
import functools

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from tests.families.case import build, hooked
from tests.families.cases import every_case
from tests.probes.hand_built_heads import CYCLE, LINE, successor_llama
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes import ablate_top_k, find_heads
from workbench.probes.heads.successor import OrdinalTokens, ordinal_tokens
from workbench.tasks import Vocabulary, repeated_random_tokens

HEADS, GROUPS, SIZE = 4, 2, 6
CLASSES = [
    OrdinalTokens("cycle", torch.tensor(list(CYCLE)), torch.tensor([1, 2, 3, 4, 5, 6, 0])),
    OrdinalTokens("line", torch.tensor(list(LINE)), torch.tensor([*range(1, len(LINE)), -1])),
]


@functools.cache
def llamas() -> tuple[HookedModel, LlamaForCausalLM]:
    """The same random model, hooked and as it is, with eager attention."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=GROUPS,
        initializer_range=0.4,
        attn_implementation="eager",
    )
    stock = LlamaForCausalLM(config).eval()
    for norm in (module for name, module in stock.named_modules() if name.endswith("norm")):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    return HookedModel(copy.deepcopy(stock)), stock


def own_matrices(stock: LlamaForCausalLM, layer: int, head: int) -> tuple[Tensor, Tensor]:
    """Values ``[model, size]`` and output ``[size, model]`` of a head, the keys and values of its group."""
    attention = stock.model.layers[layer].self_attn
    group = head // (HEADS // GROUPS)
    value = attention.v_proj.weight[group * SIZE : (group + 1) * SIZE].T
    return value, attention.o_proj.weight[:, head * SIZE : (head + 1) * SIZE].T


@torch.no_grad()
def test_a_copying_score_is_the_logit_of_what_is_read_weighed_by_the_pattern() -> None:
    hooked_model, stock = llamas()
    block = 6
    table = find_heads(hooked_model, "copying", seeds=[3], batch=2, block=block).set_index(["layer", "head"])
    tokens = repeated_random_tokens(40, block, batch=2, seed=3).tokens
    values = {}
    for layer in range(2):
        keep = functools.partial(lambda at, module, args, out: values.__setitem__(at, out), layer)
        stock.model.layers[layer].self_attn.v_proj.register_forward_hook(keep)
    seen = stock(tokens, output_attentions=True, output_hidden_states=True)
    last = {}
    handle = stock.model.norm.register_forward_pre_hook(lambda module, args: last.__setitem__("x", args[0]))
    stock(tokens)
    handle.remove()
    scale = last["x"].square().mean(-1).add(stock.config.rms_norm_eps).sqrt()
    unembedding = (stock.lm_head.weight * stock.model.norm.weight)[tokens]
    for layer in range(2):
        for head in range(HEADS):
            _, out = own_matrices(stock, layer, head)
            group = head // (HEADS // GROUPS)
            pattern = seen.attentions[layer][:, head]
            z = pattern @ values[layer][..., group * SIZE : (group + 1) * SIZE]
            logits = (z @ out) @ unembedding.mT / scale[..., None]
            logits = logits - logits.mean(-1, keepdim=True)
            expected = (pattern * logits).sum(-1)[:, block:].mean()
            assert table.loc[(layer, head), "score"] == pytest.approx(float(expected), abs=1e-5)
    assert table.score.abs().max() > 0.05


@torch.no_grad()
def test_a_copying_circuit_has_the_eigenvalues_of_the_matrix_from_token_to_logit() -> None:
    hooked_model, stock = llamas()
    table = find_heads(hooked_model, "copying_circuit", tokens=40, seeds=[0]).set_index(["layer", "head"])
    embedded = stock.model.embed_tokens.weight
    for layer in range(2):
        read = stock.model.layers[layer].input_layernorm(embedded)
        for head in range(HEADS):
            value, out = own_matrices(stock, layer, head)
            unembedding = stock.lm_head.weight * stock.model.norm.weight
            circuit = read @ value @ out @ (unembedding - unembedding.mean(0)).T
            eigenvalues = torch.linalg.eigvals(circuit.double())
            expected = eigenvalues.real.sum() / eigenvalues.abs().sum()
            assert table.loc[(layer, head), "score"] == pytest.approx(float(expected), abs=1e-4)
    assert table.score.max() - table.score.min() > 0.2


@pytest.mark.parametrize("embedding", [False, True])
@torch.no_grad()
def test_a_successor_score_follows_the_path_through_the_first_mlp(embedding: bool) -> None:
    hooked_model, stock = llamas()
    found = find_heads(hooked_model, "successor", classes=CLASSES, embedding=embedding)
    table = found.set_index(["layer", "head"])
    first = stock.model.layers[0]
    made = first.mlp(first.post_attention_layernorm(stock.model.embed_tokens.weight))
    made = made + embedding * stock.model.embed_tokens.weight
    for layer in range(2):
        for head in range(HEADS):
            value, out = own_matrices(stock, layer, head)
            logits = stock.model.layers[layer].input_layernorm(made) @ value @ out
            logits = logits @ (stock.lm_head.weight * stock.model.norm.weight).T
            right = []
            for each in CLASSES:
                best = logits[each.tokens][:, each.tokens].argmax(-1)
                right += (best == each.successor)[each.successor >= 0].tolist()
            assert table.loc[(layer, head), "score"] == pytest.approx(sum(right) / len(right))
    assert table.score.max() > 0


def test_the_successor_finder_names_the_head_that_was_built_and_no_copying_one() -> None:
    model = HookedModel(successor_llama())
    table = find_heads(model, "successor", classes=CLASSES)
    assert set(table[(table.score > 0.5) & (table.excess > 0.5)].site) == {"L0H1"}
    assert (table.score[0], table.low[0], table.null[0]) == pytest.approx((1, 1, 0))
    circuits = find_heads(model, "copying_circuit", tokens=19, seeds=(0, 1))
    assert set(circuits[circuits.score > 0.5].site) == {"L0H2"}


class Words:
    """A tokenizer of a few words, every other text cut into characters."""

    all_special_ids = ()
    known = (" one", " two", " three", " five", "A", "B", "C", "x", "y")

    def __len__(self) -> int:
        return 300

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [self.known.index(text)] if text in self.known else [100 + ord(letter) % 200 for letter in text]


def test_words_in_pieces_are_left_out_and_so_are_classes_without_three_words() -> None:
    found = {each.name: each for each in ordinal_tokens(Vocabulary.of(Words()))}
    assert found["number_words"].tokens.tolist() == [0, 1, 2, 3]
    assert found["number_words"].successor.tolist() == [1, 2, -1, -1]
    assert "months" not in found and "weekdays" not in found
    assert len(found["letters"].tokens) == 26  # each a single character, without a space


@pytest.mark.parametrize("name", ["falcon_h1", "lfm2", "zoo rwkv7"])
@pytest.mark.filterwarnings("ignore:.*wrote only")
def test_every_family_has_scores_of_all_kinds(name: str) -> None:
    with hooked(build(every_case()[name])) as model:
        for kind, options in (
            ("copying", {"block": 6, "batch": 2, "seeds": (0,)}),
            ("copying_circuit", {"tokens": 12, "seeds": (0,), "null_draws": 3}),
            ("successor", {"classes": CLASSES[:1]}),
            ("retrieval", {"lengths": 20, "depths": (0.5,), "seeds": (0,)}),
        ):
            table = find_heads(model, kind, **options)
            assert len(table) > 0 and table.score.notna().all() and (table.kind == kind).all()
            if kind != "retrieval":
                assert table.score.abs().max() > 0 or kind == "successor"


@pytest.mark.filterwarnings("ignore:Only")
def test_without_the_copying_head_its_answers_are_gone() -> None:
    model, _ = llamas()
    table = find_heads(model, "copying", seeds=[0], batch=2, block=6)
    result = ablate_top_k(model, table, 1, block=6, batch=2, draws=2)
    assert {"loss_second", "p_loss_second"} <= set(result.columns)


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("copying_circuit", {"tokens": 1}, "needs at least 2"),
        ("successor", {"classes": []}, "classes is empty"),
        ("successor", {}, "give it a model with a tokenizer"),
        ("copying", {"null_draws": 0}, "null_draws is 0"),
        ("copying", {"scope": "core"}, "has no option 'scope'"),
    ],
)
def test_what_makes_no_sense_gets_a_sentence(kind: str, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        find_heads(llamas()[0], kind, **options)
