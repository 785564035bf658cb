"""Sources of models, and the one sentence that each kind of bad source gets."""

import socket
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import workbench as wb
from tests import real_inputs
from tests.workbench.decoder_cases import VOCABULARY, batch, build
from workbench import zoo
from workbench.errors import InputError, LoadError, UnsupportedFamilyError

WORDS = ["<pad>", "<bos>", "<eos>", *(f"w{number}" for number in range(3, VOCABULARY))]


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<pad>"
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    build("llama").save_pretrained(tmp_path)  # type: ignore[operator]
    tokenizer().save_pretrained(tmp_path)
    return tmp_path


def one_sentence(refusal: pytest.ExceptionInfo[LoadError]) -> str:
    told = str(refusal.value)
    assert "\n" not in told and told.endswith(".")
    return told


@torch.no_grad()
def test_a_directory_gives_model_and_tokenizer(saved: Path) -> None:
    model = wb.load(saved)
    assert torch.equal(model(batch()), build("llama")(input_ids=batch()).logits)
    tokens = model.to_tokens(["w5 w6 w7", "w8"])
    assert tokens.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert model.to_tokens("w5", prepend_bos=True).tolist() == [[1, 5]]
    assert model.to_str_tokens("w5 w6") == ["w5", "w6"] and model.to_string(tokens[0]) == "w5 w6 w7"
    both = model(["w5 w6 w7", "w8"])
    assert (both[1, -1] - model("w8")[0, -1]).abs().max() < 1e-5
    assert isinstance(model.generate("w5 w6", 3), str) and len(model.generate(["w5", "w6 w7"], 3)) == 2
    for text in ("", [], ["w5", ""]):
        with pytest.raises(InputError, match="empty"):
            model(text)
    with pytest.raises(InputError, match="goes with tokens"):
        model("w5", attention_mask=torch.ones(1, 1, dtype=torch.long))


def test_generation_ends_a_row_at_the_end_of_text_and_fills_it(saved: Path) -> None:
    model = wb.load(saved)
    steps = iter([[5, 2], [6, 7], [2, 7], [9, 9]])

    def dictate(logits: torch.Tensor, hook: wb.HookPoint) -> torch.Tensor:
        wanted = torch.nn.functional.one_hot(torch.tensor(next(steps)), VOCABULARY).float()
        return wanted[:, None].expand_as(logits)

    with model.hooks([("hook_logits", dictate)]):
        out = model.generate(batch(), 10)
    assert out[:, 11:].tolist() == [[5, 6, 2], [2, 0, 0]]


def test_types_and_devices_are_arguments(saved: Path) -> None:
    model = wb.load(saved, dtype="float64", device="cpu")
    assert model.cfg.dtype == torch.float64 and model(batch()).dtype == torch.float64
    assert model.to(torch.float32).cfg.dtype == torch.float32
    with pytest.raises(InputError, match="'int8' is no floating-point type"):
        wb.load(saved, dtype="int8")
    with pytest.raises(InputError, match="revision belongs to a hub id"):
        wb.load(saved, revision="main")


def test_a_module_in_memory_is_wrapped_without_any_network_access(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "create_connection", refused)
    assert wb.load(build("gpt2")).tokenizer is None
    assert wb.load(build("gpt2"), tokenizer=tokenizer()).to_tokens("w3").tolist() == [[3]]


@pytest.mark.parametrize("source", ["/no/such/place", "./here", "~/there", "no/such/model.gguf", "a/b/c"])
def test_a_path_that_is_not_there(source: str) -> None:
    with pytest.raises(LoadError, match="There is no file") as refusal:
        wb.load(source)
    one_sentence(refusal)


def test_a_hub_id_that_cannot_be_had() -> None:
    with pytest.raises(LoadError, match="nobody/nothing is no local file or directory, and as a hub id it") as refusal:
        wb.load("nobody/nothing")
    one_sentence(refusal)


def test_a_directory_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"no model: a model directory has a config.json") as refusal:
        wb.load(tmp_path)
    one_sentence(refusal)
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(LoadError, match=r"is a file but no .gguf"):
        wb.load(tmp_path / "notes.txt")
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    with pytest.raises(LoadError, match=r"pass the file .*some.gguf"):
        wb.load(tmp_path)


def test_a_directory_without_weights_or_with_a_broken_configuration(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    with pytest.raises(LoadError, match="no weights"):
        wb.load(saved)
    (saved / "config.json").write_text("{")
    with pytest.raises(LoadError, match=r"config.json is no valid JSON"):
        wb.load(saved)


@pytest.mark.parametrize("broken", ["truncated", "corrupt"])
def test_broken_safetensors(saved: Path, broken: str) -> None:
    file = saved / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] if broken == "truncated" else b"\xff" * len(data))
    with pytest.raises(LoadError, match=r"model.safetensors is corrupt or truncated") as refusal:
        wb.load(saved)
    one_sentence(refusal)


def test_weights_that_are_missing_from_the_file(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LoadError, match=r"lacks 1 of the model's weights, for example model.layers.1.mlp.up_proj"):
        wb.load(saved)


def test_nan_in_the_weights_is_refused_by_name() -> None:
    stock = build("gpt2")
    with torch.no_grad():
        stock.transformer.h[1].mlp.c_fc.weight[3, 5] = torch.nan  # type: ignore[union-attr]
    with pytest.raises(LoadError, match=r"transformer.h.1.mlp.c_fc.weight contains NaN") as refusal:
        wb.load(stock)
    one_sentence(refusal)


def test_a_pickle_is_loaded_only_when_trusted(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    (saved / "model.safetensors").unlink()
    torch.save(weights, saved / "pytorch_model.bin")
    with pytest.raises(LoadError, match=r"pytorch_model.bin.*trust_pickle=True") as refusal:
        wb.load(saved)
    one_sentence(refusal)
    assert wb.load(saved, trust_pickle=True).cfg.n_layers == 3


def test_an_architecture_that_is_no_causal_language_model(saved: Path) -> None:
    from transformers import T5Config

    T5Config().save_pretrained(saved)
    with pytest.raises(UnsupportedFamilyError, match=r"supported families: .*softmax") as refusal:
        wb.load(saved)
    one_sentence(refusal)


def small_gguf(path: Path) -> Path:
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_token_list([b"a", b"bc"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), dtype=np.float32))
    writer.add_tensor("quantised", np.zeros((4, 20), dtype=np.uint8), raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_gguf_files_are_measured_against_their_header(tmp_path: Path) -> None:
    from workbench.checkpoints import check_gguf

    file = small_gguf(tmp_path / "small.gguf")
    check_gguf(file)
    data = file.read_bytes()
    used = len(data.rstrip(b"\0"))  # the weights are zeros: what is left is the header
    for length in (used // 4, used // 2, used, used + 100, used + 480):
        file.write_bytes(data[:length])
        with pytest.raises(LoadError, match=r"small.gguf is corrupt or truncated") as refusal:
            wb.load(file)
        one_sentence(refusal)
    file.write_bytes(data[:8] + struct.pack("<Q", 2**60) + data[16:])
    with pytest.raises(LoadError, match="corrupt or truncated"):
        wb.load(file)
    file.write_bytes(b"PK\x03\x04" + data[4:])
    with pytest.raises(LoadError, match=r"no GGUF file: it begins with b'PK"):
        wb.load(file)
    with pytest.raises(LoadError, match="There is no file"):
        wb.load(tmp_path / "missing.gguf")


def test_members_of_the_zoo_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers import Tokenizer, models

    home = tmp_path / "tiny"
    home.mkdir()
    member = zoo.ZooModel(zoo.ZooConfig("attention", vocab_size=VOCABULARY, d_model=32, n_layers=2, d_mlp=48))
    zoo.loading.write_weights(member, home / "model.safetensors")
    (home / "config.json").write_text(member.config.to_json())
    words = {word: number for number, word in enumerate(WORDS)}
    Tokenizer(models.WordLevel(words, unk_token="<pad>")).save(str(home / "tokenizer.json"))
    monkeypatch.setattr(zoo.loading, "WEIGHTS", tmp_path)
    model = wb.load("zoo:tiny")
    assert model.cfg.n_layers == 2 and model.to_tokens("w3").tolist() == [[3]]
    assert torch.equal(model(batch()), member.eval()(batch()).logits)
    with pytest.raises(LoadError, match="no member 'lost'; it has tiny") as refusal:
        wb.load("zoo:lost")
    one_sentence(refusal)


@pytest.mark.slow
@torch.no_grad()
def test_a_real_gguf_model_continues_text(smollm2_directory: Path) -> None:
    model = wb.load(smollm2_directory / real_inputs.FILE_NAME)
    assert (model.cfg.n_layers, model.cfg.n_heads, model.cfg.d_model, model.cfg.additive) == (30, 9, 576, True)
    assert "Paris" in model.generate("The capital of France is", 3)
    assert model.implicit_attention("The capital of France is Paris", 3).check() < 1e-5
