"""Tokens that are offered to a matcher: taken, taken back, or refused, which changes nothing."""

import random

import pytest

from lampc.backend.grammar.compiled import Grammars
from lampc.backend.grammar.matcher import Matcher, allows, heard, refusing
from lampc.backend.tokenizer import ByteTokenizer
from tests.backend.test_grammar import GRAMMARS

SIZE = ByteTokenizer().vocab_size
(END,) = ByteTokenizer().eos_ids


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("grammar", GRAMMARS)
def test_what_is_refused_or_taken_back_leaves_the_matcher_where_it_was(grammar: str, seed: int, together: bool) -> None:
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
            taken = not refusing([(0, None, asked)], [token]) if together else asked.offer(token)
            assert taken == allows(mask, token)
            if draw.random() < 0.2:
                asked.undo()
                asked = asked.copy()
        token = draw.choice(free)
        for matcher in (asked, told):
            if heard([(0, None, matcher)], [token]) if together else not matcher.step(token):
                assert matcher.take(token)
        assert asked.forced() == told.forced()
        assert asked.ended or (asked.mask() == told.mask()).all()


@pytest.mark.parametrize("stops", [{END}, {256}, {256, END}, {12, END}, {12}])
@pytest.mark.parametrize("grammar", [*GRAMMARS, f"start: /a*/ (<[256]> | <[{END}]>)? /b/\n"])
def test_ends_may_stand_where_masks_say(grammar: str, stops: set[int]) -> None:
    """Also in grammars that name the token that ends a text, or take any bytes: it may stand where the answer cannot
    end."""
    draw = random.Random(str(stops))
    for _ in range(20):
        matcher, told = _begun(grammars := Grammars(ByteTokenizer(), SIZE), grammar), _begun(grammars, grammar)
        matcher.stop_at(frozenset(stops))
        told.stop_at(frozenset(stops))
        for _ in range(12):
            if told.ended:
                break
            mask = told.mask().copy()
            for end in {*stops, END}:
                assert matcher.offer(end) == allows(mask, end)
                matcher.undo()
            free = [token for token in range(256) if allows(mask, token) and token not in stops]
            if not free:
                break
            token = draw.choice(free)
            assert matcher.take(token)
            assert told.take(token)
            assert matcher.forced() == told.forced()


def test_several_are_offered_their_tokens_at_once() -> None:
    """Those that stand at places that are known, and those that do not; ends, refused tokens and good ones."""
    draw = random.Random(5)
    grammars = Grammars(ByteTokenizer(), SIZE)
    pairs = [(_begun(grammars, grammar), _begun(grammars, grammar)) for grammar in GRAMMARS for _ in range(4)]
    for _ in range(25):
        pairs = [(one, other) for one, other in pairs if not one.ended]
        tokens = []
        for _, other in pairs:
            free = [token for token in range(256) if allows(other.mask(), token)]
            tokens.append(draw.choice(free) if free and draw.random() < 0.7 else draw.randrange(SIZE))
        asked = [(i, i, one) for i, (one, _) in enumerate(pairs)]
        right = [i for i, (_, other) in enumerate(pairs) if not other.offer(tokens[i])]
        assert [i for i, _, _ in refusing(asked, tokens)] == right
        pairs = [pair for i, pair in enumerate(pairs) if i not in right and tokens[i] < 256]
        tokens = [token for i, token in enumerate(tokens) if i not in right and token < 256]
        more = [i for i, (_, other) in enumerate(pairs) if not other.step(tokens[i])]
        assert [i for i, _, _ in heard([(i, i, one) for i, (one, _) in enumerate(pairs)], tokens)] == more
        for i in more:
            for matcher in pairs[i]:
                assert matcher.take(tokens[i])
            assert pairs[i][0].forced() == pairs[i][1].forced()


def _begun(grammars: Grammars, grammar: str) -> Matcher:
    matcher = grammars.matcher(grammar)
    assert matcher is not None
    matcher.forced()
    return matcher
