"""The subspace that a training reads its vectors in: fitted once, and kept beside the checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.saes.files.tensors import make_folder, read_tensors, write_tensors
from workbench.saes.site import VectorSite
from workbench.saes.streams import Subspace, TextSource, fit_basis
from workbench.saes.streams.reading import basis_of

FILE = "subspace.safetensors"
SAMPLE = 4096


def training_subspace(
    model: HookedModel,
    text: TextSource,
    site: VectorSite,
    rank: int,
    first: int,
    folder: Path | None,
    resume: bool,
    seed: int,
) -> Subspace:
    """The principal components of a site, of the first vectors of a text, or those that a folder keeps.

    What goes on has to read the same numbers, and a basis fitted anew is another one where the text or the machine is.

    Raises:
        InputError: the folder keeps those of another place or of another rank; `fit_basis` on the rest.
    """
    file = None if folder is None else folder / FILE
    if file is not None and resume and file.is_file():
        tensors, header = read_tensors(file)
        held = json.loads(header.get("subspace", "{}"))
        wanted = {"site": str(site), "rank": rank, "first": first}
        for name, value in wanted.items():
            if held.get(name) != value:
                raise InputError(
                    f"The training in {folder} has {name} {held.get(name)!r} and not {value!r}; choose another folder, "
                    "or the same options to go on."
                )
        return Subspace(replace(site, basis=tensors["basis"]), tensors["explained"], held["rows"])
    found = fit_basis(model, text, site, rank, rows=max(SAMPLE, 8 * rank), drop_first=first, seed=seed)
    if file is not None:
        make_folder(file.parent)
        about = {"site": str(site), "rank": rank, "first": first, "rows": found.rows}
        tensors = {"basis": basis_of(found.site), "explained": found.explained}
        write_tensors(file, tensors, {"subspace": json.dumps(about)})
    return found
