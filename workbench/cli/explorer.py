"""``workbench app``: the explorer in a browser, on this machine alone unless asked otherwise."""

from __future__ import annotations

import errno
import importlib.util
import ipaddress
import json
import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from workbench.errors import InputError

PORT = 8501
HOST = "127.0.0.1"
_HERE = ("localhost", "127.0.0.1", "[::1]")


def app(
    workspace: Annotated[
        Path,
        typer.Option(
            help="The folder whose studies, features and models are shown; prompts are kept there. It is made where "
            "there is none."
        ),
    ] = Path(),
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model to offer first; a file or directory may lie outside the workspace. Repeatable."),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")] = PORT,
    host: Annotated[str, typer.Option(help="Where to listen; any but 127.0.0.1 lets other machines in.")] = HOST,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open a browser.")] = True,
) -> None:
    """Open the explorer: attention, heads, lenses, features, states and ablations in a browser.

    Example: workbench app --workspace my-research
    """
    named = [_source(source) for source in model or []]
    root = _folder(workspace)
    _check_free(host, port)
    alone = _loopback(host)
    shown = f"[{host}]" if ":" in host else host
    if not alone:
        print(
            f"Note: every machine that reaches {shown}:{port} can use this explorer and read the workspace {root}; "
            "there is no password.",
            file=sys.stderr,
        )
    print(
        f"The explorer starts at http://{shown}:{port} and answers in a few seconds; its workspace is {root}. "
        "Ctrl-C ends it.",
        flush=True,
    )
    options = {
        "server.address": host,
        "server.port": port,
        "server.headless": not open_browser,
        "server.showEmailPrompt": False,
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.maxUploadSize": 20,
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "type",
        "client.toolbarMode": "viewer",
        "logger.hideWelcomeMessage": True,
    }
    flags = [f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in options.items()]
    # A page of another site may bring its name to this address; where others are let in their names are not known.
    flags += [f"--server.allowedHosts={name}" for name in (_HERE if alone else ("*",))]
    # Streamlit takes the place of this process, so that Ctrl-C and a kill reach it; -P keeps the folder it is started
    # in from being searched for modules.
    os.chdir(root)
    told = {
        "WORKBENCH_WORKSPACE": str(root),
        "WORKBENCH_MODELS": json.dumps(named),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    os.execve(
        sys.executable,
        [sys.executable, "-P", "-m", "streamlit", "run", str(_home()), *flags],
        {**os.environ, **told},
    )


def _home() -> Path:
    """The script that Streamlit runs; the rooms beside ``workbench/`` lie inside it once installed."""
    found = importlib.util.find_spec("workbench.app")
    assert found is not None and found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0]) / "Home.py"


def _folder(workspace: Path) -> Path:
    """The workspace, made where there is none. Raises InputError where prompts could not be kept in it.

    Of a path whose folder is missing, too, only a mistake is likely; nothing is made then.
    """
    root = workspace.expanduser().resolve()
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file; a workspace is a folder: name another with --workspace.")
    if not root.parent.is_dir():
        raise InputError(f"There is no folder {root.parent}; create it, or name another with --workspace.")
    try:
        root.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {root} cannot be made: {error.strerror}; name another with --workspace."
        ) from error
    if not os.access(root, os.W_OK | os.X_OK):
        raise InputError(f"The folder {root} cannot be written to; name another with --workspace.")
    return root


def _source(source: str) -> str:
    """A source that means the same wherever the server runs. Raises InputError for a path where nothing is."""
    path = Path(source).expanduser()
    if path.exists():
        return str(path.resolve())
    if source.endswith(".gguf") or source.startswith(("/", ".", "~")):
        raise InputError(f"There is no file or directory {source}.")
    return source


def _check_free(host: str, port: int) -> None:
    """Raise InputError where nothing can listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"Port {port} is in use; choose another, as in: --port {port + 1}.") from error
        if error.errno == errno.EACCES:
            raise InputError(f"Port {port} needs rights you do not have; choose one above 1023.") from error
        raise InputError(f"{host} is no address of this machine: {error.strerror or error}.") from error


def _loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
