"""Who does not ask for kernels does not pay for triton."""

import subprocess
import sys


def test_the_engine_imports_no_triton() -> None:
    code = (
        "import sys, lampc.backend, lampc.backend.load; print([m for m in sys.modules if m.split('.')[0] == 'triton'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
