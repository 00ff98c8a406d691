"""Write the data of the examples: ``python tools/make_example_data.py``."""

from __future__ import annotations

import argparse
from pathlib import Path

from firefly.example_data import write_all


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parents[1] / "examples" / "data")
    write_all(parser.parse_args().folder)


if __name__ == "__main__":
    main()
