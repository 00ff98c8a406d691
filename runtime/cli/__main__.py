"""`python -m lampc.runtime.cli`: the same as `lampc`."""

import sys

from lampc.runtime.cli import main

sys.exit(main())
