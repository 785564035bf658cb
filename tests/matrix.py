"""``make test-matrix``: the adapters' tests against several versions of transformers, each in its own environment.

``python -m tests.matrix [--only 5.9.0 ...] [pytest arguments]`` makes the environments under .matrix/ once. Each
has its own transformers, and what that needs in another version than constraints.txt names; everything else comes from
the environment this runs in. Tests of models that a version does not have are left out and counted, as are those of
models that are not made by transformers at all. Exits with 1 when a test fails.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Each with what it needs in a version of its own. The pinned version runs in the environment there is.
OLDER = {
    "5.9.0": ("huggingface_hub==1.33.0", "tokenizers==0.22.2"),
    "5.15.0": ("huggingface_hub==1.33.0", "tokenizers==0.22.2"),
}
PINNED = "pinned"
# Tests that a version's own classes cannot pass, by a pattern of their names, and why.
_ONE_TOKEN = {
    r"(single_token|stock_cache).*\[falcon_h1 with a norm": "stock's mixer with a norm makes two tokens of one"
}
FAULTY: dict[str, dict[str, str]] = {
    "5.15.0": _ONE_TOKEN,
    "5.9.0": {
        **_ONE_TOKEN,
        r"recurrent_gemma": "its local attention is not looked up in the registry, so that loading is refused",
        r"stock_cache.*\[mamba2\]": "stock fails on the mask of a batch while it decodes one token",
        r"stocks_cache\[olmo_hybrid": "its cache has no layers for the test to read; decoding is compared elsewhere",
        r"by_its_key\[olmo_hybrid": "its convolutions are followed by SiLU whatever hidden_act says",
        r"(logits.*\[zamba-torch\.float64|gradients_reach.*\[zamba\])": "its eager attention gives NaN for padding",
        r"(cache_equals|cache_left).*\[nemotron_h": "its mask counts cached tokens in layer 0, where an MLP keeps none",
    },
}
TESTS = ("tests/families", "tests/workbench/test_softmax_decoders.py", "tests/workbench/test_layouts.py")


class Tally:
    """A pytest plugin: leaves out what this version of transformers lacks, and counts."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.failures: dict[str, str] = {}
        self._makers: dict[int, str] = {}

    @pytest.hookimpl(trylast=True)  # after -k: only what would have run is counted
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Take out the cases of models that transformers has no part in."""
        import transformers

        faults = FAULTY.get(transformers.__version__, {})
        kept = []
        for item in items:
            known = next((f"{name}: {why}" for name, why in faults.items() if re.search(name, item.nodeid)), None)
            why = "native, not made by transformers" if self._maker(item) == "native" else known
            if why is None:
                kept.append(item)
            else:
                self.left_out[why] += 1
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept

    def _maker(self, item: pytest.Item) -> str:
        case = getattr(getattr(item, "callspec", None), "params", {}).get("case")
        if not hasattr(case, "build"):
            return "unknown"
        if id(case) not in self._makers:
            try:
                parts = case.build().modules()
                made = any(type(part).__module__.startswith("transformers.models.") for part in parts)
            except Exception:  # an older version without it, or with another configuration: the tests say so one by one
                made = True
            self._makers[id(case)] = "transformers" if made else "native"
        return self._makers[id(case)]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
        """Turn the failure of a test whose model this version does not have into a skip that names the class."""
        report = yield
        missing = None if call.excinfo is None else _missing(call.excinfo.value)
        if missing is not None and report.failed:
            report.outcome = "skipped"
            report.longrepr = (str(item.path), 0, f"Skipped: transformers has no {missing}")
            self.left_out[missing] += 1
        elif report.failed:
            self.failures[item.nodeid] = str(call.excinfo.value).strip().split("\n")[0][:200] if call.excinfo else ""
        elif report.when == "call" and report.passed:
            self.outcomes["passed"] += 1
        elif report.skipped:
            self.outcomes["skipped"] += 1
        return report


def _missing(error: BaseException) -> str | None:
    """What of transformers could not be imported, once transformers itself has confirmed that it is not there."""
    if not isinstance(error, ImportError) or not (error.name or "").startswith("transformers"):
        return None
    try:
        module = importlib.import_module(str(error.name))
    except ImportError:
        return error.name
    wanted = error.msg.split("'")[1] if "'" in error.msg else ""
    return wanted if wanted and not hasattr(module, wanted) else None


def inside(arguments: list[str], result: Path) -> int:
    """Run the tests in this interpreter and write the tally to a file."""
    import transformers

    tally = Tally()
    code = int(pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins=[tally]))
    summary = {
        "version": transformers.__version__,
        "passed": tally.outcomes["passed"],
        "skipped": tally.outcomes["skipped"],
        "failures": tally.failures,
        "left_out": {what: count for what, count in tally.left_out.items() if count},
        "code": code,
    }
    result.write_text(json.dumps(summary))
    return code


def environment(version: str) -> Path:
    """The interpreter of an environment with that version of transformers, made unless it is there."""
    if version == PINNED:
        return Path(sys.executable)
    # Here and not above: the environments that are made run this file by its path, where `tests` is no package.
    from tests.environments import overlay

    return overlay(version, [f"transformers=={version}", *OLDER[version]])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--only", action="append", choices=[*OLDER, PINNED], help="a version; may be repeated")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options, arguments = parser.parse_known_args()
    if options.inside is not None:
        sys.exit(inside(arguments, options.inside))
    chosen = arguments if any(argument.startswith("tests") for argument in arguments) else [*TESTS, *arguments]
    codes = []
    lines = []
    for version in options.only or [*OLDER, PINNED]:
        python = environment(version)
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "result.json"
            # -P: the root on the import path would show transformers our kernels/ as the package of that name.
            command = [str(python), "-P", str(Path(__file__)), "--inside", str(result), *chosen]
            subprocess.run(command, cwd=ROOT, check=False, env=os.environ | {"PYTHONPATH": ""})
            told = json.loads(result.read_text())
        codes.append(told["code"])
        lines.extend(_told(told))
    print("\n".join(["", *lines]))
    sys.exit(1 if any(codes) else 0)


def _told(told: dict[str, Any]) -> Iterator[str]:
    left = sum(told["left_out"].values())
    yield (
        f"transformers {told['version']}: {told['passed']} passed, {len(told['failures'])} failed, "
        f"{told['skipped']} skipped, {left} left out"
    )
    for what, count in told["left_out"].items():
        yield f"  left out {count}: {what}"
    for test, reason in told["failures"].items():
        yield f"  failed {test}: {reason}"


if __name__ == "__main__":
    main()
