"""A model of two families, whose layers have two heads and sixty-four channels in turn."""

import json
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest
from transformers import JambaConfig, JambaForCausalLM

from tests.app.screens.drawing import drawn
from tests.app.shell.conftest import server
from workbench import zoo
from workbench.app.serving import Server, the_server
from workbench.app.serving.server import MODELS

__all__ = ["server"]

HEADS = 2


@pytest.fixture
def hybrid(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a small Jamba of random weights with the zoo's tokenizer, which the app was started with."""
    folder = server.workspace.root / "hybrid"
    torch.manual_seed(0)
    config = JambaConfig(
        vocab_size=2048,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        mamba_d_state=4,
        attn_layer_period=2,
        attn_layer_offset=1,
        num_experts=1,
    )
    JambaForCausalLM(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((Path(zoo.directory("attention")) / "tokenizer.json").read_bytes())
    # A page that runs in this process takes only what its lists offer.
    monkeypatch.setenv(MODELS, json.dumps([str(folder)]))
    the_server.cache_clear()
    return str(folder)


def components(found: AppTest) -> bytes:
    """What the page tells its own drawings."""
    return b"".join(node.proto.SerializeToString() for node in found.main if node.type == "bidi_component")


@pytest.mark.parametrize("layer", ["0", "1"])
def test_all_heads_are_named_for_the_model_and_cells_of_no_head_are_not_values(
    server: Server, hybrid: str, layer: str
) -> None:
    found = drawn(server, "attention", model=hybrid, layer=layer)
    assert "All heads" in [title.value for title in found.subheader]  # whichever layer is shown above
    assert [box.label for box in found.number_input if box.label in ("Channel", "Head")] == [
        "Head" if layer == "1" else "Channel"
    ]
    said = components(found)
    assert b"Hatched: no such head." in said and b"Grey: " not in said


def test_the_map_of_head_scores_hatches_where_a_layer_has_no_head(server: Server, hybrid: str) -> None:
    said = components(drawn(server, "heads", model=hybrid))
    assert b"Hatched: no such head." in said and b"Grey: " not in said


def test_a_model_from_a_folder_is_called_by_its_name(server: Server, hybrid: str) -> None:
    for page in ("models", "features", "lens"):
        found = drawn(server, page, model=hybrid, lens="tuned")
        said = [*found.text, *found.info, *found.caption, *found.subheader, *found.header]
        assert not [one.value for one in said if hybrid in one.value], page
