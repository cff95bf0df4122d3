"""`python -m chaos` is `connect-chaos`."""

import sys

from chaos.cli import main

sys.exit(main())
