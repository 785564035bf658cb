"""Looks at files before a library tries to load them, so that a broken one is named in one sentence."""

from __future__ import annotations

import json
import math
import mmap
import struct
from pathlib import Path

from workbench.errors import LoadError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "spiece.model")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def check_directory(path: Path, trust_pickle: bool) -> None:
    """Refuse a directory that holds no model, no trusted weights, or broken safetensors.

    Raises:
        LoadError: says which, and what would be right.
    """
    config = path / "config.json"
    if not config.is_file():
        gguf = sorted(path.glob("*.gguf"))
        hint = f"pass the file {gguf[0]}" if gguf else "a model directory has a config.json"
        raise LoadError(f"{path} is a directory but no model: {hint}.")
    try:
        json.loads(config.read_text("utf-8"))
    except ValueError as error:
        raise LoadError(f"{config} is no valid JSON: {error}.") from error
    weights = sorted(path.glob("*.safetensors"))
    pickles = sorted(found for pattern in PICKLES for found in path.glob(pattern))
    if not weights and pickles and not trust_pickle:
        raise LoadError(
            f"The weights in {path} are a pickle ({pickles[0].name}), which can run code while it loads; "
            "convert them to safetensors, or pass trust_pickle=True if you trust where they come from."
        )
    if not weights and not pickles:
        raise LoadError(f"{path} has a config.json but no weights; a file model.safetensors is needed.")
    for file in weights:
        check_safetensors(file)


def check_safetensors(path: Path) -> None:
    """Refuse a safetensors file that is corrupt or truncated; reads its header only."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise LoadError(f"{path} is corrupt or truncated: {error}.") from error


def check_gguf(path: Path) -> None:
    """Refuse a file that is missing, no GGUF, or a GGUF that ends too early; maps it without reading the weights.

    Raises:
        LoadError: says which, and names a version or a quantisation type that cannot be read.
    """
    if not path.is_file():
        raise LoadError(f"There is no file {path}.")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise LoadError(f"{path} is no GGUF file: it begins with {magic!r}, not with b'GGUF'.")
    needed = _gguf_size(path)
    if needed is None or path.stat().st_size < needed:
        raise LoadError(f"{path} is corrupt or truncated: its header promises more than the file holds.")


def _gguf_size(path: Path) -> int | None:
    """Bytes that a GGUF's header says the file has, or None for a header that cannot be followed.

    The gguf package's reader answers the same in a hundred times the time: it wraps each of the tokenizer's strings in
    an array. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            header = _Header(data)
            version, tensors, fields = header.number("I"), header.number("Q"), header.number("Q")
            if version not in (2, 3):
                raise LoadError(f"{path} is GGUF of version {version}; versions 2 and 3 can be read.")
            alignment = 32
            for _ in range(fields):
                key = header.string()
                value = header.value(header.number("I"))
                if key == b"general.alignment" and isinstance(value, int):
                    alignment = value
            ends = [0]
            for _ in range(tensors):
                name = header.string()
                shape = [header.number("Q") for _ in range(header.number("I"))]
                quantisation = header.number("I")
                if quantisation not in set(GGMLQuantizationType):
                    raise LoadError(
                        f"{path} cannot be read: tensor {name.decode(errors='replace')} has quantisation type "
                        f"{quantisation}, which this version of gguf does not know."
                    )
                block, size = GGML_QUANT_SIZES[GGMLQuantizationType(quantisation)]
                ends.append(header.number("Q") + math.prod(shape) // block * size)
        except (struct.error, ValueError, KeyError, OverflowError):
            return None
        return -(-header.at // alignment) * alignment + max(ends)


class _Header:
    """A position in a GGUF header that moves on as values are read; reading past the end is a struct.error."""

    SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
    STRING, ARRAY = 8, 9
    DEEPEST = 4  # arrays in arrays; real files nest none

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.at = 4  # after the magic

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f"<{kind}", self._data, self.at)
        self.at += struct.calcsize(f"<{kind}")
        return int(value)

    def string(self) -> bytes:
        length = self.number("Q")
        text = self._data[self.at : self.at + length]
        if len(text) < length:
            raise struct.error("the string ends beyond the file")
        self.at += length
        return text

    def value(self, kind: int, depth: int = 0) -> object:
        """Read one value; only a number is worth returning. Arrays nested too deeply are a ValueError."""
        if depth > self.DEEPEST:
            raise ValueError("arrays are nested too deeply")
        if kind == self.STRING:
            return self.string()
        if kind != self.ARRAY:
            return self.number(self.SCALARS[kind])
        inner, count = self.number("I"), self.number("Q")
        if inner in self.SCALARS:
            self.at += count * struct.calcsize(f"<{self.SCALARS[inner]}")
        else:
            for _ in range(count):
                self.value(inner, depth + 1)
        return None


def has_tokenizer(path: Path) -> bool:
    """Whether a model directory brings a tokenizer."""
    return any((path / name).is_file() for name in TOKENIZER_FILES)
