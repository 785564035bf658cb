"""A study that a Python file builds. Reading it runs it, so only who asks for that gets it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from workbench.errors import InputError
from workbench.studies.schema.reading import changed_study, explained
from workbench.studies.schema.study import Study

VARIABLE = "study"


def python_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Run a Python file and take its ``study``.

    The file is imported as a module from its folder, so that workers find the kinds that it defines.

    Args:
        overrides: as `read_study`'s.

    Raises:
        InputError: it is not there, its name cannot be imported, or its ``study`` is no study. What its own code
            raises comes through as it is.
    """
    file = Path(path).absolute()
    if not file.is_file():
        raise InputError(f"There is no study file {path}.")
    name = file.stem
    if not name.isidentifier() or name in sys.stdlib_module_names:
        raise InputError(f"{path} cannot be imported under the name {name!r}; give the file another name.")
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) != str(file):
        raise InputError(f"A module called {name!r} is loaded already; give {path} another name.")
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ValidationError as error:
        del sys.modules[name]
        raise explained(error, str(path)) from error
    except BaseException:
        del sys.modules[name]
        raise
    study = getattr(module, VARIABLE, None)
    if not isinstance(study, Study):
        said = "has none" if study is None else f"has one of type {type(study).__name__}"
        raise InputError(f"{path} builds no study: a variable called {VARIABLE} is looked for, and the file {said}.")
    return changed_study(study, overrides, str(path))
