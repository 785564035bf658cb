"""Knocked-out edges: exactly the matrix's entries go, in one pass and while decoding, in every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import workbench as wb
from tests.families.case import Case, all_in_float64, batch_of_tokens, build, hooked, recurrent, stock
from tests.families.cases import every_case
from workbench import Knockout
from workbench.errors import HookEditError, InputError
from workbench.forms import Delta, MixerForm
from workbench.model import HookedModel
from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel

FAMILIES = [pytest.param(case, id=name) for name, case in every_case().items()]
DECODING = [pytest.param(case, id=name) for name, case in every_case().items() if case.cache]
SOURCES, DESTINATIONS = [2, 3, 7], [5, 7, 10, 17]  # one of them reads itself


def tokens_of(case: Case) -> tuple[Tensor, Tensor]:
    tokens, mask = batch_of_tokens()
    return tokens, mask if case.padding else torch.ones_like(mask)


def of_sources(form: MixerForm, sources: list[int]) -> Tensor:
    """The part of the values that comes from the sources: theirs, or their inputs' a tap and a token at a time."""
    values = torch.zeros_like(form.core.v)
    if form.conv is None:
        values[:, sources] = form.core.v[:, sources]
        return values
    assert form.inputs is not None
    taps = form.conv.shape[-1]
    for source in sources:
        for j in range(min(taps, values.shape[1] - source)):
            values[:, source + j] += form.conv[..., taps - 1 - j] * form.inputs[:, source]
    return values if form.source is None else values * form.source


@pytest.mark.parametrize("case", FAMILIES)
def test_a_destination_loses_exactly_what_the_sources_bring_it(case: Case) -> None:
    tokens, mask = tokens_of(case)
    with hooked(build(case, torch.float64)) as model:
        adapter = recurrent(model, case)
        outputs: list[Tensor] = []
        forms: list[MixerForm] = []
        with adapter.points["hook_z"].listening(lambda z, hook: outputs.append(z.clone())):
            with adapter.recorded_by(forms.append):
                stock(model.wrapped, tokens, mask)
            # Zamba's attention comes before its Mamba, and is not what is measured.
            knockout = Knockout(SOURCES, DESTINATIONS, layers=[case.layer], meaning="value", mixer=0)
            with model.knocked_out(knockout):
                stock(model.wrapped, tokens, mask)
            stock(model.wrapped, tokens, mask)
        with all_in_float64(torch.float64):
            matrix = model.implicit_attention(tokens, case.layer, attention_mask=mask).dense()
    whole, cut, after = outputs
    gone = torch.einsum("bhts,bshv->bthv", matrix, of_sources(forms[0], SOURCES))
    expected = whole.clone()
    expected[:, DESTINATIONS] -= gone[:, DESTINATIONS]
    torch.testing.assert_close(cut, expected, atol=1e-10, rtol=1e-8)
    assert gone[:, DESTINATIONS].abs().max() > 1e-6
    torch.testing.assert_close(after, whole, atol=0, rtol=0)


@pytest.mark.parametrize("meaning", ["value", "write"])
@pytest.mark.parametrize("case", DECODING)
def test_a_cut_holds_while_decoding(case: Case, meaning: Any) -> None:
    tokens, mask = tokens_of(case)
    knockout = Knockout([2, 3, 7, 12], slice(6, None), meaning=meaning)
    with hooked(build(case, torch.float64)) as model:
        with model.knocked_out(knockout):
            whole = stock(model.wrapped, tokens, mask)
        with model.knocked_out(knockout):
            logits, cache = stock(model.wrapped, tokens[:, :8], mask[:, :8], keep=True)
            parts = [logits]
            for i in range(8, tokens.shape[1]):
                logits, cache = stock(model.wrapped, tokens[:, i : i + 1], mask[:, : i + 1], cache=cache, keep=True)
                parts.append(logits)
        intact = stock(model.wrapped, tokens, mask)
    real = mask.bool()
    torch.testing.assert_close(torch.cat(parts, dim=1)[real], whole[real], atol=1e-9, rtol=1e-9)
    assert (whole - intact)[:, :6][real[:, :6]].abs().max() < 1e-12
    assert (whole - intact)[:, 12:].abs().max() > 1e-7


def test_a_write_that_never_happened_does_not_erase_either() -> None:
    delta = every_case()["deltanet"]
    tokens, _ = batch_of_tokens()
    with hooked(build(delta, torch.float64)) as model:
        adapter = recurrent(model, delta)
        outputs: list[Tensor] = []
        forms: list[MixerForm] = []
        with adapter.points["hook_z"].listening(lambda z, hook: outputs.append(z.clone())):
            with adapter.recorded_by(forms.append):
                stock(model.wrapped, tokens)
            for meaning in ("write", "value"):
                knockout = Knockout(SOURCES, DESTINATIONS, layers=[delta.layer], meaning=meaning)  # type: ignore[arg-type]
                with model.knocked_out(knockout):
                    stock(model.wrapped, tokens)
    whole, written, valued = outputs
    core = forms[0].core
    assert isinstance(core, Delta) and core.write is not None and core.probe is None and core.erase is None
    expected = whole.clone()
    state = core.v.new_zeros(core.batch, core.heads, core.k.shape[-1], core.v.shape[-1])
    each = core.heads // core.k.shape[2]
    for t in range(core.time):
        k = core.k[:, t].repeat_interleave(each, dim=1)
        q = core.q[:, t].repeat_interleave(each, dim=1)
        state = state * core.log_decay[:, t].exp()[..., None]
        if t not in SOURCES:
            found = torch.einsum("bhk,bhkv->bhv", k, state)
            change = core.write[:, t, :, None] * (core.v[:, t] - found)
            state = state + k[..., None] * change[..., None, :]
        if t in DESTINATIONS:
            expected[:, t] = torch.einsum("bhk,bhkv->bhv", q, state)
    torch.testing.assert_close(written, expected, atol=1e-11, rtol=1e-9)
    assert (written - valued).abs().max() > 1e-4


def softmax_model() -> HookedModel:
    torch.manual_seed(0)
    config = ZooConfig("attention", vocab_size=30, d_model=12, n_layers=2, d_mlp=8, mixer_options={"n_heads": 3})
    model = ZooModel(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return HookedModel(model)


@pytest.mark.parametrize("meaning", ["value", "write"])
def test_a_softmax_row_renormalises_only_where_the_source_was_never_there(meaning: Any) -> None:
    model = softmax_model()
    tokens = torch.arange(9)[None]
    _, cache = model.run_with_cache(tokens, [f"blocks.1.mixer.hook_{name}" for name in ("pattern", "v", "z")])
    pattern, v = cache["blocks.1.mixer.hook_pattern"].clone(), cache["v", 1]
    pattern[:, 1, 6, 2] = pattern[:, 1, 8, 2] = pattern[:, 1, 8, 5] = 0
    if meaning == "write":
        pattern = pattern / pattern.sum(-1, keepdim=True)
    pairs = [(6, 2), (8, 2), (8, 5)]
    with model.knocked_out(Knockout.pairs(pairs, layers=[1], heads=[1], meaning=meaning)):
        _, cut = model.run_with_cache(tokens)
    torch.testing.assert_close(cut["z", 1], torch.einsum("bhts,bshv->bthv", pattern, v), atol=1e-12, rtol=1e-10)


def test_generation_that_cannot_read_a_span_is_that_of_the_shadowed_rows() -> None:
    """Cutting everything before a span from everything after it, in every layer, hides the prompt's first half."""
    model = wb.load("zoo:mamba2")
    tokens = torch.randint(1, 2048, (1, 24), generator=torch.Generator().manual_seed(3))
    repeated = torch.cat([tokens[:, :12], tokens[:, :6]], dim=1)
    plain = model.generate(repeated, max_new_tokens=4)
    with model.knocked_out(Knockout(slice(0, 12), slice(12, None))):
        blind = model.generate(repeated, max_new_tokens=4)
    assert plain[0, 18:].tolist() == tokens[0, 6:10].tolist()  # it copies
    assert blind[0, 18:].tolist() != plain[0, 18:].tolist()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sources": 5, "destinations": 3}, "knock-out of the future: source 5"),
        ({"sources": slice(2, None), "destinations": slice(0, 9)}, "sources without end"),
        ({"sources": -1, "destinations": 3}, "are no positions"),
        ({"sources": [], "destinations": 3}, "are no positions"),
        ({"sources": torch.tensor([0.5]), "destinations": 3}, "are no positions"),
        ({"sources": slice(4, 4), "destinations": 6}, "hold no position"),
        ({"sources": slice(0, 9, 2), "destinations": 9}, "have a stride"),
    ],
)
def test_a_bad_knockout_is_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Knockout(**options)


def test_pairs_of_the_future_and_no_pairs_are_refused() -> None:
    with pytest.raises(InputError, match="source 4 comes after destination 2"):
        Knockout.pairs([(5, 3), (2, 4)])
    with pytest.raises(InputError, match="at least one pair"):
        Knockout.pairs([])


def test_positions_out_of_range_heads_and_layers_are_refused_and_leave_nothing_behind() -> None:
    model = softmax_model()
    tokens = torch.arange(9)[None]
    with pytest.raises(InputError, match="cut nothing"), model.knocked_out(Knockout(9, slice(9, None))):
        model(tokens)
    with pytest.raises(InputError, match="names heads"), model.knocked_out(Knockout(0, 1, heads=[3])):
        model(tokens)
    with pytest.raises(InputError, match="Layer 2 is out of range"), model.knocked_out(Knockout(0, 1, layers=[2])):
        model(tokens)
    assert not any(adapter.cuts for adapter in model.adapters)


def test_a_cut_that_comes_after_the_prompt_is_refused() -> None:
    model = wb.load("zoo:mamba2").unwrap()
    tokens, _ = batch_of_tokens()
    with hooked(model) as wrapped:
        _, cache = stock(model, tokens, keep=True)
        late = wrapped.knocked_out(Knockout(0, slice(1, None)))
        with pytest.raises(InputError, match="in force when the prompt is read"), late:
            stock(model, tokens[:, :1], cache=cache, keep=True)


def last_z(model: HookedModel, case: Case, *knockouts: Knockout, edit: Any = None) -> Tensor:
    """What the case's mixer read from the batch under knock-outs."""
    tokens, _ = batch_of_tokens()
    points, outputs = recurrent(model, case).points, list[Tensor]()
    hooks = [] if edit is None else [(points["hook_v"].name, edit)]
    shown = points["hook_z"].listening(lambda z, hook: outputs.append(z.clone()))
    with shown, model.hooks(hooks), model.knocked_out(*knockouts):
        stock(model.wrapped, tokens)
    return outputs[-1]


@pytest.mark.parametrize("meaning", ["value", "write"])
@pytest.mark.parametrize("name", ["mamba2", "deltanet", "retnet"])
def test_an_edge_that_several_knockouts_name_is_gone_once(name: str, meaning: Any) -> None:
    case = every_case()[name]

    def cut(sources: list[int], destinations: Any, heads: list[int] | None = None) -> Knockout:
        return Knockout(sources, destinations, [case.layer], heads, meaning)

    with hooked(build(case, torch.float64)) as model:
        one = last_z(model, case, cut([2, 3], slice(6, 12)))
        several = last_z(model, case, cut([2, 3], [6, 7]), cut([2], slice(6, 12)), cut([3], slice(6, 12)))
        alone = last_z(model, case, cut([2], slice(6, 12)))
        one_head = last_z(model, case, cut([2], slice(6, 12)), cut([3], slice(6, 12), [1]))
    torch.testing.assert_close(several, one, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(one_head[:, :, 1], one[:, :, 1], atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(one_head[:, :, 0], alone[:, :, 0], atol=1e-12, rtol=1e-10)
    assert (alone - one)[:, 6:12].abs().max() > 1e-6


def test_a_value_and_a_write_that_one_destination_loses_go_together() -> None:
    """With its write silenced by a hook, a delta rule's source is as good as never written."""
    case = every_case()["deltanet"]
    value = Knockout(5, slice(6, None), [case.layer], meaning="value")

    def silent(write: Tensor, hook: object) -> Tensor:
        return write.index_fill(1, torch.tensor(2), 0.0)

    with hooked(build(case, torch.float64)) as model:
        both = last_z(model, case, value, Knockout(2, slice(6, None), [case.layer], meaning="write"))
        with model.hooks([(f"blocks.{case.layer}.mixer.hook_write", silent)]):
            expected = last_z(model, case, value)
    torch.testing.assert_close(both[:, 6:], expected[:, 6:], atol=1e-12, rtol=1e-10)


def test_values_that_a_hook_silenced_are_not_taken_away_again() -> None:
    case = every_case()["mamba2"]

    def silent(v: Tensor, hook: object) -> Tensor:
        return v.index_fill(1, torch.tensor(2), 0.0)

    with hooked(build(case, torch.float64)) as model:
        cut = last_z(model, case, Knockout(2, slice(3, None), [case.layer]), edit=silent)
        expected = last_z(model, case, edit=silent)
    torch.testing.assert_close(cut, expected, atol=0, rtol=0)


@pytest.mark.parametrize("name", ["zoo:attention", "zoo:mamba2"])
def test_a_state_read_under_a_knockout_can_be_gone_on_from_again_and_again(name: str) -> None:
    model = wb.load(name)
    tokens = torch.randint(1, 2048, (1, 20), generator=torch.Generator().manual_seed(3))
    intact = model.prefill(tokens[:, :8])
    with model.knocked_out(Knockout([2, 10], slice(4, None))):
        expected = model(tokens)[:, -1]
        state = model.prefill(tokens[:, :8])
        for _ in range(2):
            found = model.prefill(tokens[:, 8:], state=state).logits
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
            model.prefill(tokens.flip(1)[:, :5])
        if name == "zoo:mamba2":
            with pytest.raises(InputError, match="in force when the prompt is read"):
                model.prefill(tokens[:, 8:], state=intact)
            with pytest.raises(InputError, match="was replaced while edges are knocked out"):
                model.prefill(tokens[:, 8:], state=state.with_recurrent(1, state.recurrent[1] * 0.5))


@pytest.mark.parametrize("hook", ["hook_state", "hook_pattern"])
def test_what_a_hook_changed_cannot_be_cut(hook: str) -> None:
    model = wb.load("zoo:mamba2")
    tokens = torch.arange(1, 9)[None]
    with model.knocked_out(Knockout(2, slice(3, None))):
        with pytest.raises(HookEditError, match=f"changed blocks.1.mixer.{hook} while edges are knocked out"):
            model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.1.mixer.{hook}", lambda x, hook: x * 0.5)])
        model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.1.mixer.{hook}", lambda x, hook: None)])


def test_a_layer_without_a_mixer_has_nothing_to_cut() -> None:
    with hooked(build(every_case()["nemotron_h"])) as model:
        bare = next(block.layer for block in model.layout.blocks if not block.mixers)
        with pytest.raises(InputError, match="have no token mixer"), model.knocked_out(Knockout(1, 2, layers=[bare])):
            pass


def test_positions_may_be_a_tensor() -> None:
    assert Knockout(torch.tensor([1, 2]), torch.tensor(3)).edges == Knockout([1, 2], 3).edges


def test_a_layer_and_a_head_may_be_plain_numbers_and_a_list_of_knockouts_is_refused() -> None:
    model = softmax_model()
    tokens = torch.arange(9)[None]

    def cut(layers: Any, heads: Any) -> Tensor:
        with model.knocked_out(Knockout(2, 6, layers=layers, heads=heads)):
            logits: Tensor = model(tokens)
        return logits

    torch.testing.assert_close(cut(1, 2), cut([1], [2]), atol=0, rtol=0)
    assert (cut(1, 2) - cut(1, None)).abs().max() > 1e-6
    several: Any = [Knockout(2, 6)]
    with pytest.raises(InputError, match="one after the other"), model.knocked_out(several):
        model(tokens)
