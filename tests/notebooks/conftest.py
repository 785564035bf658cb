import sys
from pathlib import Path

# The package takes the root off the import path again when it is imported (see notebooks/__init__.py).
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import notebooks  # noqa: F401
