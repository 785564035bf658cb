"""How the notebooks are made: ``python -m notebooks`` runs the sources and writes the ``.ipynb`` files with outputs.

A notebook is written as a script in ``sources/`` (percent format: ``# %%`` begins a cell, ``# %% [markdown]`` one of
text). The ``.ipynb`` beside this file is made from it and never edited, so that a change is reviewed in the script.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# ``python -m notebooks`` puts the root on the import path, and there transformers would take the folder kernels/ for
# the package of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
