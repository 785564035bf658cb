"""Compiles what the backend would launch on a GPU, on a machine without one, and reads what it takes of an SM.

Run without ``TRITON_INTERPRET``. The launches are not made up: the backend's own code is run on CPU tensors, with the
one function replaced that would start a kernel.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
TYPES = {
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int64: "*i64",
    torch.int32: "*i32",
}
OPTIONS = {"num_warps", "num_stages"}


@dataclass(frozen=True)
class Launch:
    kernel: JITFunction[Any]
    arguments: dict[str, Any]
    options: dict[str, int]

    @property
    def name(self) -> str:
        return str(self.kernel.fn.__name__)


@dataclass(frozen=True)
class Resources:
    """Registers a thread, bytes of shared memory a program, bytes a thread that spill."""

    registers: int
    shared: int
    spills: int


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Launches inside are noted, not made."""
    launches: list[Launch] = []

    def note(self: JITFunction[Any], *values: Any, grid: Any, warmup: bool, **named: Any) -> None:
        options = {name: named.pop(name) for name in OPTIONS & named.keys()}
        launches.append(Launch(self, dict(zip(self.arg_names, values, strict=False)) | named, options))

    original = JITFunction.run
    JITFunction.run = note  # type: ignore[assignment,method-assign]
    try:
        yield launches
    finally:
        JITFunction.run = original  # type: ignore[method-assign]


def compiled(launch: Launch, capability: int) -> Resources:
    """Compile a launch as Triton would for its arguments, and ask the assembler what it takes."""
    signature, constants, attributes = {}, {}, {}
    for index, parameter in enumerate(launch.kernel.params):
        value = launch.arguments.get(parameter.name, parameter.default)
        if parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1):
            signature[parameter.name] = "constexpr"
            constants[parameter.name] = value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = TYPES[value.dtype]
            attributes[(index,)] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[parameter.name] = "fp32"
        else:
            signature[parameter.name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            if value % 16 == 0:
                attributes[(index,)] = [["tt.divisibility", 16]]
    source = ASTSource(launch.kernel, signature, constexprs=constants, attrs=attributes)
    binary = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=launch.options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        told = subprocess.run(
            [CUOBJDUMP, "--dump-resource-usage", file.name], check=True, capture_output=True, text=True
        ).stdout
    registers, stack = (int(re.findall(rf"\b{name}:(\d+)", told)[-1]) for name in ("REG", "STACK"))
    local = int(re.findall(r"\bLOCAL:(\d+)", told)[-1])
    return Resources(registers, int(binary.metadata.shared), stack + local)


def launches_of(run: Callable[[], object]) -> list[Launch]:
    with recorded() as launches:
        run()
    return launches
