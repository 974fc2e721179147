"""What the supervisor starts: ``python -m trio_sio.workers DESCRIPTOR``."""

import sys

from .worker import main

sys.exit(main(int(sys.argv[1])))
