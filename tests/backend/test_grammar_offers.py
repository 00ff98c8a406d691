"""Tokens that are offered to a matcher: taken, taken back, or refused, which changes nothing."""

import random

import pytest

from lampc.backend.grammar.compiled import Grammars
from lampc.backend.grammar.matcher import Matcher, allows
from lampc.backend.tokenizer import ByteTokenizer
from tests.backend.test_grammar import GRAMMARS

SIZE = ByteTokenizer().vocab_size


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("grammar", GRAMMARS)
def test_what_is_refused_or_taken_back_leaves_the_matcher_where_it_was(grammar: str, seed: int) -> None:
    draw = random.Random(seed)
    grammars = Grammars(ByteTokenizer(), SIZE)
    asked, told = _begun(grammars, grammar), _begun(grammars, grammar)
    for _ in range(30):
        if asked.ended or told.ended:
            assert asked.ended == told.ended
            return
        mask = told.mask().copy()
        free = [token for token in range(256) if allows(mask, token)]
        if not free:
            return  # nothing but its end may follow
        for _ in range(draw.randint(0, 3)):
            asked.undo()
            token = draw.randrange(256)
            assert asked.offer(token) == allows(mask, token)
            if draw.random() < 0.2:
                asked.undo()
                asked = asked.copy()
        token = draw.choice(free)
        for matcher in (asked, told):
            if not matcher.step(token):
                assert matcher.take(token)
        assert asked.forced() == told.forced()
        assert asked.ended or (asked.mask() == told.mask()).all()


def _begun(grammars: Grammars, grammar: str) -> Matcher:
    matcher = grammars.matcher(grammar)
    assert matcher is not None
    matcher.forced()
    return matcher
