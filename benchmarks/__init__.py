"""One module per promise; each prints ratios measured within one run, never bare seconds alone."""

import sys
from pathlib import Path

# What starts servers for the tests, and a whole machine for anybody, starts them here as well.
for _folder in ("tests", "deploy"):
    sys.path.insert(0, str(Path(__file__).parents[1] / _folder))
