"""Makes the package `benchmarks`, which is not installed, importable however pytest is started."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))
