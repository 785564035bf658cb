"""``workbench app`` listens on this machine alone, says what is wrong in a sentence, and ends when it is told to."""

import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.browser import free_port

from .conftest import Run

HOME = Path(__file__).resolve().parents[2] / "app" / "Home.py"
PATIENCE = 120.0
TCP = Path("/proc/net/tcp"), Path("/proc/net/tcp6")
LISTENS = "0A"


class Started(Exception):
    """Stands for the server: from here on the process would be Streamlit's."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command would start: program, arguments, environment."""
    found: list[Any] = []

    def execve(*what: Any) -> None:
        found.extend(what)

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.chdir(Path.cwd())  # the command goes to the workspace
    return found


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        yield


def test_a_workspace_is_made_and_what_cannot_be_one_is_one_sentence(
    refused: Callable[..., str], run: Run, started: list[Any], tmp_path: Path
) -> None:
    said = refused("app", "--workspace", tmp_path / "nothing" / "deep")
    assert f"There is no folder {tmp_path / 'nothing'}; create it, or name another with --workspace." in said
    (tmp_path / "file").touch()
    assert "is a file; a workspace is a folder" in refused("app", "--workspace", tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert run("app", "--workspace", tmp_path / "new", "--port", free_port()).exit_code == 0
    assert (tmp_path / "new").is_dir() and started[2]["WORKBENCH_WORKSPACE"] == str(tmp_path / "new")


def test_a_model_file_that_is_not_there_is_one_sentence(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "There is no file or directory ./my.gguf." in refused("app", "--workspace", tmp_path, "--model", "./my.gguf")


def test_a_port_in_use_is_one_sentence(refused: Callable[..., str], tmp_path: Path) -> None:
    port = free_port()
    with taken(port):
        said = refused("app", "--workspace", tmp_path, "--port", port)
    assert f"Port {port} is in use; choose another, as in: --port {port + 1}." in said


def test_a_host_of_another_machine_is_one_sentence(refused: Callable[..., str], tmp_path: Path) -> None:
    said = refused("app", "--workspace", tmp_path, "--host", "192.0.2.1", "--port", free_port())
    assert "192.0.2.1 is no address of this machine" in said


def test_this_machine_alone_needs_no_warning(run: Run, started: list[Any], tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.touch()
    (tmp_path / "inside").mkdir()
    port = free_port()
    result = run("app", "--workspace", tmp_path / "inside", "--port", port, "--model", model, "--no-open")
    assert result.exit_code == 0 and "Note" not in result.output
    _, arguments, environment = started
    assert "--server.address=127.0.0.1" in arguments and "--server.headless=true" in arguments
    assert [flag for flag in arguments if "allowedHosts" in flag] == [
        f"--server.allowedHosts={name}" for name in ("localhost", "127.0.0.1", "[::1]")
    ]
    assert environment["WORKBENCH_WORKSPACE"] == str(tmp_path / "inside")
    assert environment["WORKBENCH_MODELS"] == f'["{model}"]'


def test_what_streamlit_is_told_is_what_its_settings_say(run: Run, started: list[Any], tmp_path: Path) -> None:
    """Flags win over the file, so a protection has to be in both."""
    run("app", "--workspace", tmp_path, "--port", free_port())
    told = dict(flag.removeprefix("--").split("=", 1) for flag in started[1] if flag.startswith("--"))
    settings = tomllib.loads((HOME.parent / ".streamlit" / "config.toml").read_text("utf-8"))
    said = {
        f"{section}.{name}": str(value).lower() if isinstance(value, bool) else str(value)
        for section in ("server", "browser", "client")
        for name, value in settings[section].items()
    }
    both = sorted(set(told) & set(said) - {"server.allowedHosts"})
    assert {"server.maxUploadSize", "server.enableXsrfProtection", "client.showErrorDetails"} <= set(both)
    assert {name: told[name] for name in both} == {name: said[name] for name in both}


def test_letting_other_machines_in_is_said(run: Run, started: list[Any], tmp_path: Path) -> None:
    result = run("app", "--workspace", tmp_path, "--host", "0.0.0.0", "--port", free_port())
    assert "every machine that reaches 0.0.0.0" in result.output and "there is no password" in result.output
    assert "--server.address=0.0.0.0" in started[1]


def listening(port: int) -> set[str]:
    """Local addresses at which something listens on that port, as the kernel writes them."""
    rows = [line.split() for table in TCP if table.exists() for line in table.read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == LISTENS and int(row[1].split(":")[1], 16) == port}


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not TCP[0].exists(), reason="Who listens is read from /proc, which is not here.")
@pytest.mark.parametrize("command", ["workbench app", "streamlit run"])
def test_it_listens_on_this_machine_alone_and_ends_at_ctrl_c(command: str, tmp_path: Path) -> None:
    port = free_port()
    if command == "workbench app":
        arguments = ["-P", "-m", "workbench.cli", "app", "--no-open", "--port", str(port)]
    else:  # from a folder that is not the repository, with no address given
        arguments = ["-P", "-m", "streamlit", "run", str(HOME), "--server.headless=true", f"--server.port={port}"]
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not answers(port) and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[0].decode()
            time.sleep(0.1)
        assert listening(port) == {"0100007F"}
    finally:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=PATIENCE)[0].decode()
    assert process.returncode == 0 and "Traceback" not in said
