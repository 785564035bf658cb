import json
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.probes.lenses.models import random_model, rows
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.lenses import TunedLens, Unembedding, load_tuned_lens, residual_streams, save_tuned_lens


def random_lens(model: HookedModel, bias: bool = True) -> TunedLens:
    lens = TunedLens(model, bias=bias)
    for parameter in lens.parameters():
        nn.init.normal_(parameter)
    return lens


@pytest.fixture
def model() -> HookedModel:
    return random_model()


@pytest.mark.parametrize("bias", [True, False])
def test_a_lens_comes_back_as_it_was_saved_in_the_published_layout(
    model: HookedModel, bias: bool, tmp_path: Path
) -> None:
    lens = random_lens(model, bias)
    folder = save_tuned_lens(lens, tmp_path / "some" / "lens", revision="main")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "params.pt"]
    assert json.loads((folder / "config.json").read_text()) == {
        "base_model_name_or_path": model.cfg.model_name,
        "d_model": 16,
        "num_hidden_layers": 2,
        "bias": bias,
        "base_model_revision": "main",
        "unembed_hash": Unembedding(model).hash,
        "lens_type": "linear_tuned_lens",
    }
    parameters = torch.load(folder / "params.pt", weights_only=True)
    kinds = ["weight", "bias"] if bias else ["weight"]
    assert set(parameters) == {f"{depth}.{kind}" for depth in range(2) for kind in kinds}
    stream = residual_streams(model, rows(model))[1]
    written_out = stream + stream @ parameters["1.weight"].T + parameters.get("1.bias", torch.zeros(16))
    loaded = load_tuned_lens(folder, model)
    torch.testing.assert_close(loaded.transform(stream, 1), written_out)
    assert torch.equal(loaded.logits(stream, 1), lens.logits(stream, 1))


def test_half_precision_lenses_are_read(model: HookedModel, tmp_path: Path) -> None:
    save_tuned_lens(random_lens(model), tmp_path)
    held = torch.load(tmp_path / "params.pt", weights_only=True)
    torch.save({name: tensor.half() for name, tensor in held.items()}, tmp_path / "params.pt")
    loaded = load_tuned_lens(tmp_path, model)
    assert torch.equal(loaded.translators[0].weight, held["0.weight"].half().float())


def test_a_lens_for_another_model_is_refused(model: HookedModel, tmp_path: Path) -> None:
    save_tuned_lens(random_lens(model), tmp_path)
    with pytest.raises(InputError, match=r"with 2 layers of width 16; .* has 3"):
        load_tuned_lens(tmp_path, random_model(layers=3))
    with torch.no_grad():
        model.wrapped.embed.weight[:3, :3] += 0.7
    with pytest.raises(InputError, match="another hash"):
        load_tuned_lens(tmp_path, model)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "unembed_hash": None}))
    with pytest.warns(UserWarning, match="does not say which unembedding"):
        load_tuned_lens(tmp_path, model)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("/tmp/workbench-unpickled"),))  # type: ignore[return-value]


def test_damaged_lenses_are_refused_and_no_pickle_runs(model: HookedModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json is missing"):
        load_tuned_lens(tmp_path, model)
    save_tuned_lens(random_lens(model), tmp_path)
    for content in (pickle.dumps(Evil()), b"", (tmp_path / "params.pt").read_bytes()[:500]):
        (tmp_path / "params.pt").write_bytes(content)
        with pytest.raises(InputError, match=r"params\.pt is no file of tensors"):
            load_tuned_lens(tmp_path, model)
    assert not Path("/tmp/workbench-unpickled").exists()
    torch.save({"0.weight": torch.zeros(16, 16)}, tmp_path / "params.pt")
    with pytest.raises(InputError, match=r"0\.bias, 1\.bias, 1\.weight differ"):
        load_tuned_lens(tmp_path, model)
    (tmp_path / "params.pt").unlink()
    with pytest.raises(InputError, match="There is no file"):
        load_tuned_lens(tmp_path, model)
    for text in ("{", "[]", '{"d_model": 16}', '{"d_model": 16, "num_hidden_layers": 2, "lens_type": "other"}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InputError):
            load_tuned_lens(tmp_path, model)
