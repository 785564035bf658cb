"""From an entry of a study's models to a model, the same way in the coordinator and in every worker."""

from __future__ import annotations

from workbench.errors import LoadError
from workbench.model import HookedModel
from workbench.studies.schema.study import ModelEntry


def load_model(entry: ModelEntry) -> HookedModel:
    """Load what an entry names; with a `device_map`, spread over devices by accelerate.

    Raises:
        LoadError: as `workbench.load` does, and where a device_map is asked of a model that transformers does not load.
        InputError: no such device or dtype, or a revision of something that has none.
    """
    from workbench.loading import load

    if entry.device_map is None:
        return load(
            entry.id,
            dtype=entry.dtype,
            device=entry.device,
            revision=entry.revision,
            trust_pickle=entry.trust_pickle,
        )
    if entry.id.startswith("zoo:") or entry.id.endswith(".gguf"):
        raise LoadError(f"{entry.id} takes no device_map: it fits on one device; leave device_map away.")
    if entry.device is not None:
        raise LoadError(f"{entry.id}: give either a device or a device_map, not both.")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        module = AutoModelForCausalLM.from_pretrained(
            entry.id,
            revision=entry.revision,
            dtype=entry.dtype or "auto",
            device_map=entry.device_map,
            use_safetensors=None if entry.trust_pickle else True,
        )
        tokenizer = AutoTokenizer.from_pretrained(entry.id, revision=entry.revision)
    except (OSError, ValueError, ImportError) as error:
        first = str(error).strip().splitlines()[0]
        raise LoadError(f"{entry.id} could not be loaded with a device_map: {first}") from error
    return load(module, tokenizer=tokenizer)
