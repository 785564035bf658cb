"""Input that makes no sense: one sentence that says what was wrong, and never a quiet answer to another question."""

import copy
import json
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from torch import nn

import workbench as wb
from tests.workbench.decoder_cases import _opt, batch, build, eager
from tests.workbench.test_loading import one_sentence, saved, small_gguf, tokenizer
from workbench.errors import InputError, LoadError, UnsupportedFamilyError, WorkbenchError
from workbench.forms import ScalarDecay
from workbench.interventions import Ablate, Reference
from workbench.model import HookedModel

__all__ = ["saved"]  # a fixture, used by name
TOKENS = batch(1, 5)


@pytest.fixture(autouse=True)
def as_users_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The types that the tests check at run time are not checked at a user's."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="module")
def model() -> wb.HookedModel:
    return wb.load(build("llama"), tokenizer=tokenizer())


CALLS: dict[str, tuple[Callable[[wb.HookedModel], Any], str]] = {
    "misspelt return_type": (lambda m: m(TOKENS, return_type="lss"), "'lss'.*'loss'"),
    "misspelt return_type of generate": (lambda m: m.generate(TOKENS, 1, return_type="foo"), "'foo'.*'tokens'"),
    "misspelt side": (lambda m: m.to_tokens("w5", padding_side="lft"), "'lft'.*'left', 'right'"),
    "no input": (lambda m: m(None), "Tokens cannot be made of this NoneType"),
    "ragged rows": (lambda m: m([[1, 2], [1]]), "Tokens cannot be made of this list.*one length"),
    "an empty row": (lambda m: m([[]]), "There are no tokens"),
    "bytes": (lambda m: m(b"hi"), "Tokens cannot be made of this bytes"),
    "no mask": (lambda m: m(TOKENS, attention_mask="11111"), "mask cannot be made of this str"),
    "a layer by letter": (lambda m: m.implicit_attention(TOKENS, "a"), "'a' is no layer number"),
    "half a layer": (lambda m: m.implicit_attention(TOKENS, 1.0), "1.0 is no layer number"),
    "half a position": (lambda m: m.attribute(TOKENS, 1, position=1.5), "1.5 is no position number"),
    "a head by letter": (lambda m: m.head_index(0, "a"), "'a' is no head number"),
    "a layer as text": (lambda m: m.run_with_cache(TOKENS)[1]["z", "0"], "'0' is no whole number"),
    "a number as key": (lambda m: m.run_with_cache(TOKENS)[1][0], "0 is no key"),
    "a pair as site": (lambda m: Ablate([(0, 1)]), r"\(0, 1\) is no site.*L0H1"),  # type: ignore[list-item]
    "a number as site": (lambda m: Ablate(5), "5 is no site"),  # type: ignore[arg-type]
    "hooks that stay": (lambda m: m.run_with_hooks(TOKENS, reset_hooks_end=False), r"reset_hooks_end=False.*hooks\("),
    "two rows without their axis": (lambda m: m.run_with_cache(batch(), remove_batch_dim=True), "2 sequences"),
    "a copy": (lambda m: copy.deepcopy(m), "load it a second time"),
}


@pytest.mark.parametrize("case", CALLS)
def test_calls_that_make_no_sense(model: wb.HookedModel, case: str) -> None:
    call, told = CALLS[case]
    with pytest.raises(InputError, match=told) as refusal:
        call(model)
    assert "\n" not in str(refusal.value) and str(refusal.value).endswith(".")


@torch.no_grad()
def test_what_transformer_lens_users_write_is_taken(model: wb.HookedModel) -> None:
    logits, cache = model.run_with_cache(TOKENS, remove_batch_dim=True)
    assert cache["resid_post", 0].shape == (5, 32) and logits.shape[0] == 1
    plain = model.run_with_hooks(TOKENS, fwd_hooks=[], reset_hooks_end=True, clear_contexts=True)
    assert torch.equal(plain, logits)


@torch.no_grad()
def test_a_mask_may_be_a_list(model: wb.HookedModel) -> None:
    mask = [[1] * 11, [0] * 4 + [1] * 7]
    assert torch.equal(model(batch(), attention_mask=mask), model(batch(), attention_mask=torch.tensor(mask)))


def test_the_configuration_follows_the_weights() -> None:
    model = wb.load(build("gpt2"))
    assert model.double().cfg.dtype == torch.float64
    assert model.bfloat16().cfg.dtype == torch.bfloat16
    model.wrapped.float()
    assert model.cfg.dtype == torch.float32
    assert model.to("meta").cfg.device.type == "meta"


def test_a_model_prints_as_one_line(model: wb.HookedModel) -> None:
    assert repr(model) == "HookedModel(LlamaForCausalLM: softmax, 3 layers, 4 heads, d_model 32, float32, cpu)"


@torch.no_grad()
def test_the_mean_over_texts_leaves_padding_out(model: wb.HookedModel) -> None:
    texts = ["w5", "w6 w7 w8 w9 w10"]
    tokens, mask = model.tokenize_batch(texts)
    name = "blocks.1.mixer.hook_out"
    right = Reference.record(model, tokens, "L1.mixer", mask).mean(name, False)
    assert torch.equal(Reference.record(model, texts, "L1.mixer").mean(name, False), right)
    ((_, by_text),) = Ablate("L1.mixer", "mean").hooks(model, texts)
    replaced = by_text(torch.zeros(2, 5, 32), model.points[name])
    assert isinstance(replaced, torch.Tensor) and torch.allclose(replaced[0, 0], right[0, 0])
    with pytest.raises(InputError, match="One sequence"):
        Ablate("L1.mixer", "resample").hooks(model, "w5 w6")


def test_a_layer_with_a_norm_after_its_sum_is_not_taken_away() -> None:
    stock = _opt(do_layer_norm_before=False)
    with torch.no_grad():  # a norm of norm 1 leaves alone what is normed already
        for name, parameter in stock.named_parameters():
            if "layer_norm" in name:
                parameter.add_(torch.rand_like(parameter))
    model = wb.load(stock)
    with pytest.raises(InputError, match=r"L1 cannot be taken away as a whole.*L1\.mixer"):
        Ablate("L1").hooks(model)
    assert len(Ablate(["L1.mixer", "L1.mlp"]).hooks(model)) == 2


@torch.no_grad()
def test_a_layer_whose_parts_are_scaled_can_be_taken_away() -> None:
    from transformers import GraniteConfig, GraniteForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = GraniteConfig(vocab_size=40, num_hidden_layers=2, residual_multiplier=0.3, **sizes)
    model = wb.load(GraniteForCausalLM(config))
    with Ablate("L1").applied(model):
        _, cache = model.run_with_cache(batch() % 40)
    assert torch.allclose(cache["resid_post", 1], cache["resid_pre", 1])


def t5() -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(T5Config(vocab_size=40, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))


@pytest.mark.parametrize("source", [5, None, "", "  "])
def test_what_is_no_source(source: Any) -> None:
    with pytest.raises(LoadError, match="is no source of a model") as refusal:
        wb.load(source)
    one_sentence(refusal)


@pytest.mark.parametrize("device", ["gpu", "cuda:77", 1.5])
def test_a_device_that_is_not_here(device: Any) -> None:
    with pytest.raises(InputError, match=r"cannot be used here; use for example 'cpu'"):
        wb.load(build("gpt2"), device=device)


def test_an_encoder_with_a_decoder_is_refused_as_such() -> None:
    with pytest.raises(UnsupportedFamilyError, match="encoder-decoder") as refusal:
        wb.load(t5())
    one_sentence(refusal)


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_infinity_in_the_weights_is_refused_by_name(value: float) -> None:
    stock = build("gpt2")
    with torch.no_grad():
        stock.transformer.h[1].mlp.c_fc.weight[3, 5] = value  # type: ignore[union-attr]
    with pytest.raises(LoadError, match=r"transformer.h.1.mlp.c_fc.weight contains infinity"):
        wb.load(stock)


@torch.no_grad()
def test_a_stock_model_that_is_not_finite_on_padding_is_checked_without() -> None:
    stock = eager(build("llama")).double()
    model = wb.load(stock)
    assert model.cfg.dtype == torch.float64


def test_a_stock_model_that_is_never_finite_is_named_as_the_culprit() -> None:
    stock = build("gpt2")
    stock.register_forward_hook(lambda module, args, output: setattr(output, "logits", output.logits / 0))
    with pytest.raises(LoadError, match="The stock GPT2LMHeadModel itself gives NaN or infinity"):
        wb.load(stock)


def reconfigured(saved: Path, **changes: Any) -> Path:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, **changes}))
    return saved


def test_weights_of_another_shape_are_named(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LoadError, match=r"mlp.down_proj.weight is \[32, 48\] in the file and \[32, 56\]") as refusal:
        wb.load(reconfigured(saved, intermediate_size=56))
    one_sentence(refusal)
    assert "REPORT" not in capfd.readouterr().err


def test_layers_that_the_configuration_leaves_out_are_told(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match=r"layers that its configuration does not have, for example model.layers.2"):
        model = wb.load(reconfigured(saved, num_hidden_layers=2))
    assert model.cfg.n_layers == 2 and "REPORT" not in capfd.readouterr().err
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert wb.load(build("gpt2")).cfg.n_layers == 3


def test_gguf_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    file = small_gguf(tmp_path / "small.gguf")
    data = file.read_bytes()
    file.write_bytes(data[:4] + struct.pack("<I", 1) + data[8:])
    with pytest.raises(LoadError, match="is GGUF of version 1; versions 2 and 3 can be read"):
        wb.load(file)
    at = data.index(b"quantised") + len(b"quantised")
    (axes,) = struct.unpack_from("<I", data, at)
    at += 4 + 8 * axes
    file.write_bytes(data[:at] + struct.pack("<I", 999) + data[at + 4 :])
    with pytest.raises(LoadError, match="tensor quantised has quantisation type 999"):
        wb.load(file)


def test_gguf_arrays_nested_without_end_are_corrupt(tmp_path: Path) -> None:
    file = tmp_path / "deep.gguf"
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<I", 9)
    file.write_bytes(head + struct.pack("<IQ", 9, 1) * 5000)
    with pytest.raises(LoadError, match="corrupt or truncated") as refusal:
        wb.load(file)
    one_sentence(refusal)


def test_a_recurrent_zoo_shape_has_no_limit_and_no_error() -> None:
    model = wb.load(build("zoo attention"))
    assert model.cfg.n_ctx is None and isinstance(model(TOKENS), torch.Tensor)
    assert issubclass(InputError, WorkbenchError)


def test_parameters_on_several_devices_or_in_float64_and_float32_are_refused_by_name() -> None:
    module = build("zoo attention")
    module.blocks[1].mlp.up_proj.double()  # type: ignore[index, union-attr]
    with pytest.raises(LoadError, match=r"embed.weight is float32, blocks.1.mlp.up_proj.weight is float64") as refusal:
        HookedModel(module)
    one_sentence(refusal)
    module = build("zoo attention")
    module.blocks[1].mlp.up_proj.to("meta")  # type: ignore[index, union-attr]
    with pytest.raises(LoadError, match=r"embed.weight on cpu, blocks.1.mlp.up_proj.weight on meta") as refusal:
        HookedModel(module)
    one_sentence(refusal)


def test_operands_of_a_form_on_several_devices_are_refused_by_name() -> None:
    x = torch.zeros(1, 2, 1, 3)
    with pytest.raises(ValueError, match="v is on cpu, log_decay on meta"):
        ScalarDecay(x, x, x, torch.zeros(1, 2, 1, device="meta"))
