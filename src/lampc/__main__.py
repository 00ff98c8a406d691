"""`python -m lampc`: the command line."""

import sys

from lampc.runtime.cli import main

sys.exit(main())
