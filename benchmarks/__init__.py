"""Side-by-side measurements: each operation against what one would run instead.

`python -m benchmarks` from the root of the repository measures every row that is not measured yet and rewrites the
table in `benchmarks/results/`. One time of one machine says little, so nothing here is a test and nothing here asserts
a time: two sides are run in alternation in one process, and what is reported is the ratio of neighbours, with its
spread.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# `python -m benchmarks` puts the root of the repository on the import path, and there transformers would take the
# folder kernels/ for the package of that name and measure something else.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
