"""Names that nobody knows: which known one is meant."""

import pytest

from lampc.passes.optimize.options import near


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("n_trials", "num_trials"),
        ("boot_demos", "max_bootstrapped_demos"),
        ("_seed", "seed"),
        ("maxdemos", "max_demos"),
        ("max_demos", ""),
    ],
)
def test_a_name_is_taken_for_one_that_is_like_it(name: str, known: str) -> None:
    options = [known] if known else ["max_errors", "num_threads"]
    assert near(name, options) == (f"did you mean `{known}`?" if known else "")
