"""`python -m dlspec`."""

from __future__ import annotations

import sys

from dlspec.cli import main

sys.exit(main())
