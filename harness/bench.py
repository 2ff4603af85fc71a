#!/usr/bin/env python3
"""lb beside HAProxy, nginx and a relay that parses nothing; `make bench`, or see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lbbench.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
