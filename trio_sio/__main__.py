"""``python -m trio_sio``: the command line."""

import sys

from .cli import main

sys.exit(main())
