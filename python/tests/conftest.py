"""What the tests share."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# Python leaves it ignored if it was when it started, as in a job in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
