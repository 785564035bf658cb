"""From a source to a hooked model: hub id, local directory, GGUF file, zoo member, or a module in memory."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workbench import families
from workbench.checkpoints import check_directory, check_gguf, has_tokenizer
from workbench.errors import InputError, LoadError, UnsupportedFamilyError
from workbench.families.layouts import token_embedding
from workbench.fidelity import check_fidelity, stock_run
from workbench.interop import transformer_lens
from workbench.model import HookedModel
from workbench.zoo import published


def load(
    source: str | Path | nn.Module,
    *,
    tokenizer: Any = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    revision: str | None = None,
    check: bool = True,
    trust_pickle: bool = False,
) -> HookedModel:
    """Load a language model and put hook points into it.

    Args:
        source: a hub id (``"gpt2"``), a local directory, a ``.gguf`` file, ``"zoo:NAME"``, or a module in memory (which
            is wrapped in place, with no network access). A HookedTransformer or TransformerBridge of TransformerLens
            is such a module: its weights are hooked in a plain decoder, and it stays usable.
        tokenizer: a transformers tokenizer to use instead of the source's own; a module in memory has none.
        dtype: of the weights; None keeps the checkpoint's (float32 for GGUF).
        device: where the weights go; None means the CPU, or where a module in memory is.
        revision: branch, tag or commit of a hub id.
        check: run a short random batch, a left-padded row included, through the stock model and through the hooked one
            and refuse a model for which they differ.
        trust_pickle: allow weights in pickle files, which can run code while they load.

    Raises:
        LoadError: the source is missing, corrupt, incomplete or not trusted, or a weight is not finite.
        UnsupportedFamilyError: no adapter serves the model's token mixers.
        FidelityError: the hooked forward pass differs from the stock one.
    """
    if not isinstance(source, str | Path | nn.Module) or not str(source).strip():
        raise LoadError(f"{source!r} is no source of a model; use a hub id, a path, zoo:NAME, or a module.")
    wanted, device = _dtype(dtype), _device(device)
    name = type(source).__name__ if isinstance(source, nn.Module) else str(source)
    if revision is not None and (isinstance(source, nn.Module) or name.startswith("zoo:") or Path(name).exists()):
        raise InputError(f"A revision belongs to a hub id; {name} has none.")
    if isinstance(source, HookedModel):
        raise LoadError("This is a HookedModel already; use it as it is.")
    if transformer_lens.is_model(source):
        module, found = transformer_lens.unwrapped(source, check)
    elif isinstance(source, nn.Module):
        module, found = source, None
    elif name.startswith("zoo:"):
        module, found = _from_zoo(name.removeprefix("zoo:"))
    else:
        module, found = _from_files(source, wanted, revision, trust_pickle)
    if wanted is not None or device is not None:
        module = module.to(device=device, dtype=wanted)
    return wrap(module, found if tokenizer is None else tokenizer, model_name=name, check=check)


def wrap(module: nn.Module, tokenizer: Any = None, model_name: str | None = None, check: bool = True) -> HookedModel:
    """Hook a module in place, after looking for NaN and infinity in its weights; see `load` for the rest."""
    what = model_name or type(module).__name__
    if getattr(getattr(module, "config", None), "is_encoder_decoder", False):
        raise UnsupportedFamilyError(
            f"{what} is an encoder-decoder model; a decoder alone is needed, "
            f"supported families: {', '.join(families.families())}."
        )
    for name, parameter in module.named_parameters():
        if torch.isnan(parameter).any():
            raise LoadError(f"The weights of {what} are broken: {name} contains NaN.")
        # Torch looks for no infinity in 8-bit types.
        if parameter.element_size() > 1 and torch.isinf(parameter).any():
            raise LoadError(f"The weights of {what} are broken: {name} contains infinity.")
    module.eval()
    if not check:
        return HookedModel(module, tokenizer, model_name)
    embed = token_embedding(module)
    stock = stock_run(module, embed.num_embeddings, embed.weight.device)
    model = HookedModel(module, tokenizer, model_name)
    try:
        check_fidelity(model, stock)
    except Exception:
        model.unwrap()
        raise
    return model


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found is None and dtype is None:
        return None
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InputError(f"{dtype!r} is no floating-point type; use for example 'float32' or torch.bfloat16.")
    return found


def _device(device: torch.device | str | None) -> torch.device | None:
    """A device that tensors can be made on. Raises InputError for any other."""
    if device is None:
        return None
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        usable = "'cpu', 'cuda'" if torch.cuda.is_available() else "'cpu'"
        raise InputError(f"Device {str(device)!r} cannot be used here; use for example {usable}.") from error
    return found


def _from_zoo(member: str) -> tuple[nn.Module, Any]:
    from transformers import PreTrainedTokenizerFast

    from workbench import zoo

    if member not in zoo.available():
        known = ", ".join(zoo.available())
        raise LoadError(f"The zoo has no member {member!r}; it has {known}." if known else "The zoo is empty.")
    module, tokenizer = zoo.load(member)
    bos = tokenizer.id_to_token(module.config.bos_token_id)
    wrapper: Any = PreTrainedTokenizerFast
    return module, wrapper(tokenizer_object=tokenizer, bos_token=bos, eos_token=bos, pad_token=bos)


def _from_files(
    source: str | Path, dtype: torch.dtype | None, revision: str | None, trust_pickle: bool
) -> tuple[nn.Module, Any]:
    path = Path(source).expanduser()
    if path.suffix.lower() == ".gguf":
        check_gguf(path)
        return _pretrained(str(path.parent.resolve()), dtype or torch.float32, True, gguf_file=path.name)
    if path.is_dir():
        check_directory(path, trust_pickle)
        if published.is_published(path):
            return _published(path)
        options = {} if trust_pickle else {"use_safetensors": True}
        return _pretrained(str(path), dtype, has_tokenizer(path), local_files_only=True, **options)
    if path.is_file():
        raise LoadError(f"{path} is a file but no .gguf; pass a .gguf file or the directory of a model.")
    if (
        isinstance(source, Path)
        or path.is_absolute()
        or str(source).startswith((".", "~"))
        or str(source).count("/") > 1
    ):
        raise LoadError(f"There is no file or directory {path}.")
    fetched = published.download(str(source), revision or "main")
    if fetched is not None:
        check_directory(fetched, trust_pickle=False)
        return _published(fetched)
    options = {} if trust_pickle else {"use_safetensors": True}
    return _pretrained(str(source), dtype, True, revision=revision or "main", **options)


def _published(path: Path) -> tuple[nn.Module, Any]:
    return published.load(path), _tokenizer(str(path), str(path)) if has_tokenizer(path) else None


def _pretrained(name: str, dtype: torch.dtype | None, with_tokenizer: bool, **options: Any) -> tuple[nn.Module, Any]:
    """A model, and its tokenizer where it has one, through transformers; every failure becomes one sentence."""
    from transformers import AutoModelForCausalLM

    what = str(Path(name) / options["gguf_file"]) if "gguf_file" in options else name
    try:
        loader: Any = AutoModelForCausalLM
        with _without_report():
            module, info = loader.from_pretrained(
                name,
                dtype=dtype or "auto",
                output_loading_info=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                **options,
            )
    except Exception as error:  # whatever three libraries raise for a bad checkpoint
        raise _explained(what, error, is_local="revision" not in options) from error
    mismatched = sorted(info["mismatched_keys"])
    if mismatched:
        key, stored, needed = mismatched[0]
        raise LoadError(
            f"{what} does not fit its configuration: {key} is {list(stored)} in the file and {list(needed)} "
            "in the model."
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise LoadError(f"{what} lacks {len(missing)} of the model's weights, for example {missing[0]}.")
    beyond = _beyond(module, info["unexpected_keys"])
    if beyond:
        warnings.warn(
            f"{what} holds weights of layers that its configuration does not have, for example {beyond[0]}; "
            "they are left out.",
            stacklevel=4,
        )
    if not with_tokenizer:
        return module, None
    options.pop("use_safetensors", None)
    return module, _tokenizer(name, what, **options)


def _tokenizer(name: str, what: str, **options: Any) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False, **options)
    except Exception as error:  # a model is useful without one; to_tokens says that it is missing
        warnings.warn(f"{what} was loaded without its tokenizer: {_sentence(error)}", stacklevel=5)
        return None


@contextmanager
def _without_report() -> Iterator[None]:
    """Keep transformers from printing its table of keys; what matters in it becomes a sentence here."""
    from transformers.utils import logging as told

    before = told.get_verbosity()
    told.set_verbosity(max(before, logging.ERROR))
    try:
        yield
    finally:
        told.set_verbosity(before)


def _beyond(module: nn.Module, keys: Iterable[str]) -> list[str]:
    """Keys of blocks past the last one of a list of blocks in the model."""
    found = []
    lists = [(name, len(part)) for name, part in module.named_modules() if isinstance(part, nn.ModuleList)]
    for key in sorted(keys):
        match = re.match(r"(.+?)\.(\d+)\.", key)
        if match is None:
            continue
        counts = [count for name, count in lists if f".{name}".endswith(f".{match[1]}")]
        if counts and int(match[2]) >= max(counts):
            found.append(key)
    return found


def _explained(what: str, error: Exception, is_local: bool) -> LoadError:
    text = str(error)
    if "Unrecognized configuration class" in text or "does not recognize this architecture" in text:
        return UnsupportedFamilyError(
            f"{what} is no causal language model that transformers knows; "
            f"supported families: {', '.join(families.families())}."
        )
    if "safetensors" in text and ("does not appear to have" in text or "no file named" in text):
        return LoadError(
            f"{what} has no weights in safetensors; pass trust_pickle=True to load its pickle files, "
            "which can run code, if you trust where they come from."
        )
    if not is_local:
        what = f"{what} is no local file or directory, and as a hub id it"
    return LoadError(f"{what} could not be loaded: {_sentence(error)}")


def _sentence(error: Exception) -> str:
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return first if first.endswith(".") else f"{first}."
