"""From rows of logits to tokens and log-probabilities, all rows of a step together.

With logits z of a row and temperature T > 0, the weight of token i is w_i = exp((z_i - max z) / T). Then, in
this order (that of transformers' logits processors):

1. `top_k` k > 0 keeps the k tokens of largest weight (ties: lowest ids first).
2. `top_p` p < 1 (nucleus: Holtzman et al. 2020) sorts what is kept by falling weight and keeps the shortest
   beginning whose weights sum to at least p of what step 1 kept.
3. `min_p` m > 0 (Nguyen et al. 2024) keeps tokens with w_i >= m, which is m times the weight of the likeliest.

The likeliest token is always kept. One token is drawn from what is left, in proportion to its weight, by
inverting the cumulative sum at `uniform(key, index)`. All of it is float64 on the CPU, and each row is computed
by itself or elementwise: a draw depends on the row's bits, the key and the index alone.

Under a mask the weights of ids that it forbids are 0, before step 1. Where there is none of these steps, and nothing
else changes the logits, a token is drawn as if there were no mask. If the mask forbids it, another one is drawn from
all others, with `retry_key(key)`, up to `TRIES` in all; if it forbids these, too, or the largest logit is not finite,
one is drawn under it, with the next key. The distribution is the same (von Neumann's rejection, where what was refused
once is not drawn again, which leaves the others in proportion). An answer that keeps to its grammar by itself is what
it would be without one, and the mask, which costs more than a draw, is hardly ever made.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lampc.backend.bare_draws import BARE, Bare, Draws, bare_of, proposes
from lampc.backend.errors import BackendError
from lampc.backend.grammar.matcher import allows
from lampc.backend.job import Drawn
from lampc.backend.plan import Want
from lampc.backend.random_keys import retry_key, uniform
from lampc.backend.request import Sampling
from lampc.backend.shaping import Edits, edit

_NEVER = np.float32(-np.inf).view(np.int32)
_BLOCK = 1 << 17  # elements of float64 held at once, one row at least
_HEAD = 256  # a nucleus is looked for in this many likeliest tokens, then in eight times as many

TRIES = 2
"""Tokens that are proposed to a mask before one is drawn under it."""

Top = tuple[tuple[int, float], ...]  # token ids and their ln p, the likeliest first


@dataclass(frozen=True, slots=True)
class Draw:
    """What to draw from one row: generated token `index` of the stream `key`, never a `banned` id.

    With `mask`, as `lampc.backend.grammar.matcher.Matcher.mask` makes it, none but those that it allows. `edits` are
    made first.
    """

    sampling: Sampling
    key: int
    index: int
    banned: frozenset[int] = frozenset()
    mask: NDArray[np.int32] | None = None
    edits: Edits | None = None


Drawer = Callable[[NDArray[np.float32], Sequence[Draw | None]], list[int]]


def draw_rows(logits: NDArray[np.float32], draws: Sequence[Draw | None]) -> list[int]:
    """A token id for each row of logits [n, vocab]; None draws the likeliest.

    Raises BackendError if a row holds NaN or nothing finite.
    """
    special = {i: d for i, d in enumerate(draws) if d is not None}
    if any(d.banned or d.mask is not None or d.edits is not None for d in special.values()):
        logits = logits.copy()
        for i, d in special.items():
            change(logits[i], d)
            if d.mask is not None:
                forbid(logits[i], d.mask)
    best = logits.argmax(axis=1)  # the first of equals; NaN counts as largest
    tops = logits[np.arange(len(best)), best]
    check_finite(tops)
    tokens: list[int] = best.tolist()
    random = [i for i, d in special.items() if d.sampling.temperature > 0.0]
    for part in _blocks(random, logits.shape[1]):
        wide = logits[part].astype(np.float64)
        wide -= tops[part].astype(np.float64)[:, None]
        with np.errstate(over="ignore", under="ignore"):
            wide /= np.array([special[i].sampling.temperature for i in part])[:, None]
            np.exp(wide, out=wide)
        for i, weights in zip(part, wide, strict=True):
            d = special[i]
            tokens[i] = _choose(logits[i], weights, d.sampling, uniform(d.key, d.index))
    return tokens


def draw_bare(
    logits: NDArray[np.float32], draws: Draws, positions: NDArray[np.int64], tries: int = 1
) -> list[list[int]]:
    """A token id for each row of logits [n, vocab], those after `positions` [n], then as many lists more as there are
    `tries` more: what is drawn if the one before is refused, where that is asked for (see the module's text).

    -1 for a row that holds NaN or nothing finite, or of which no id is left.
    """
    fit = np.isfinite(logits.max(axis=1))
    made = [draw_of(*its) for its in zip(draws.tolist(), positions.tolist(), strict=True)]
    firsts = iter(draw_rows(logits[fit], [draw for draw, right in zip(made, fit, strict=True) if right]))
    found = [[next(firsts) if right else -1 for right in fit]]
    left = {i: logits[i].copy() for i, draw in enumerate(made) if tries > 1 and proposes(draw.sampling) and fit[i]}
    while len(found) < tries:
        tokens = [-1] * len(made)
        for i, row in left.items():
            row[found[-1][i]] = -np.inf
            made[i] = replace(made[i], key=retry_key(made[i].key))
            if np.isfinite(row.max()):
                (tokens[i],) = draw_rows(row[None], [made[i]])
        found.append(tokens)
    return found


def draw_under(
    logits: NDArray[np.float32],
    draws: Draws,
    positions: NDArray[np.int64],
    rows: Sequence[int],
    masks: Sequence[NDArray[np.int32]],
) -> list[int]:
    """A token id for each of some rows of logits [n, vocab], under its mask; where tries were made first, all of them
    were refused. Raises as `draw_rows` does."""
    made = []
    for i, mask in zip(rows, masks, strict=True):
        draw = draw_of(draws[i].tolist(), int(positions[i]))
        made.append(replace(draw, mask=mask, key=last_key(draw.key) if proposes(draw.sampling) else draw.key))
    return draw_rows(logits[list(rows)], made)


def draw_of(bare: Bare, position: int) -> Draw:
    """The draw behind a position."""
    temperature, top_p, min_p, top_k, key, prompt = bare
    return Draw(Sampling(temperature, top_k=top_k, top_p=top_p, min_p=min_p), key, position + 1 - prompt)


def draw_kept(kernel: "Kernel", logits: NDArray[np.float32], draws: Sequence[Draw | None]) -> list[int]:
    """What a kernel gives by the rule for masks: see the module's text. Raises as `draw_rows` does."""
    free = [
        (i, one, one.mask)
        for i, one in enumerate(draws)
        if one is not None and one.mask is not None and one.edits is None and proposes(one.sampling)
    ]
    if not free:
        return kernel.draw(logits, draws)
    rows = logits[[i for i, _, _ in free]]
    for row, (_, one, _) in zip(rows, free, strict=True):
        change(row, one)
    bare = np.array([bare_of(one.sampling, one.key, 0) for _, one, _ in free], BARE)
    positions = np.array([one.index - 1 for _, one, _ in free])
    kept: dict[int, int] = {}
    for tokens in kernel.draw_bare(rows, bare, positions, TRIES):
        for token, (i, _, mask) in zip(tokens, free, strict=True):
            if i not in kept and token >= 0 and allows(mask, token):
                kept[i] = token
    refused = [n for n, (i, _, _) in enumerate(free) if i not in kept]
    if refused:
        masks = [free[n][2] for n in refused]
        under = kernel.draw_under(rows, bare, positions, refused, masks)
        kept.update(zip((free[n][0] for n in refused), under, strict=True))
    rest = [i for i in range(len(draws)) if i not in kept]
    if rest:
        kept.update(zip(rest, kernel.draw(logits[rest], [draws[i] for i in rest]), strict=True))
    return [kept[i] for i in range(len(draws))]


def last_key(key: int) -> int:
    """The key of what is drawn under a mask where all tries were refused."""
    for _ in range(TRIES):
        key = retry_key(key)
    return key


def change(logits: NDArray[np.float32], draw: Draw) -> None:
    """Makes a draw's edits in logits [vocab], and sets those of its banned ids to -inf."""
    if draw.edits is not None:
        edit(logits, draw.edits)
    logits[[token for token in draw.banned if token < len(logits)]] = -np.inf


def forbid(logits: NDArray[np.float32], mask: NDArray[np.int32]) -> None:
    """Sets logits [vocab] of ids whose bit in a mask is 0 to -inf. By their bits: a choice per value is far slower."""
    denied = np.unpackbits(mask.view(np.uint8), count=len(logits), bitorder="little").astype(np.int32)
    denied -= 1  # all bits, or none
    bits = logits.view(np.int32)
    bits &= ~denied
    denied &= _NEVER
    bits |= denied


def check_finite(tops: NDArray[np.float32]) -> None:
    """Raises BackendError if one of these largest logits is not finite."""
    finite = np.isfinite(tops)
    if not finite.all():
        raise BackendError(
            f"no token can be drawn: logits are not finite (the largest is {tops[~finite][0]}); check the weights, and "
            "whether the request's options forbid everything"
        )


def _choose(logits: NDArray[np.float32], weights: NDArray[np.float64], sampling: Sampling, u: float) -> int:
    top_k = sampling.top_k if sampling.top_k < len(weights) else 0
    if not top_k and sampling.top_p == 1.0:
        if sampling.min_p:
            kept = np.flatnonzero(weights >= sampling.min_p)
            return int(kept[_pick(np.cumsum(weights[kept]), u)])
        return _pick(np.cumsum(weights), u)
    limit = top_k or len(weights)
    head = top_k or min(_HEAD, limit)
    total = None if top_k else float(weights.sum())
    while True:
        order = likeliest(logits, head)
        sums = np.cumsum(weights[order])
        wanted = sampling.top_p * (sums[-1] if total is None else total)
        if head == limit or sums[-1] >= wanted or weights[order[-1]] < sampling.min_p:
            break
        head = min(8 * head, limit)
    if sampling.top_p < 1.0:
        sums = sums[: int(np.searchsorted(sums, wanted)) + 1]
    if sampling.min_p:
        sums = sums[: int(np.count_nonzero(weights[order[: len(sums)]] >= sampling.min_p))]
    return int(order[_pick(sums, u)])


def _pick(sums: NDArray[np.float64], u: float) -> int:
    # Rounding may put u * total at the very end, where trailing zero weights must not be picked.
    at = int(np.searchsorted(sums, u * sums[-1], side="right"))
    return min(at, int(np.searchsorted(sums, sums[-1])))


def likeliest(logits: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Ids of the `count` largest of logits [vocab], the largest first; ties: lowest ids first."""
    if count < len(logits):
        least = np.partition(logits, len(logits) - count)[len(logits) - count]
        ids = np.flatnonzero(logits >= least)
    else:
        ids = np.arange(len(logits))
    return ids[np.argsort(-logits[ids], kind="stable")][:count]


def masses(logits: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each row of logits [n, vocab] the largest z, and ln of the sum of exp(z_i - z), float64 [n] both."""
    tops: list[float] = []
    found: list[float] = []
    for part in _blocks(range(len(logits)), logits.shape[1]):
        wide = logits[part[0] : part[-1] + 1].astype(np.float64)
        largest = wide.max(axis=1)
        wide -= largest[:, None]
        np.exp(wide, out=wide)
        tops += largest.tolist()
        found += [math.log(row.sum()) for row in wide]
    return np.array(tops), np.array(found)


class Kernel(NamedTuple):
    """What computes with whole rows: functions that do as those of these names do, of this module or another."""

    draw: Drawer
    masses: Callable[[NDArray[np.float32]], tuple[NDArray[np.float64], NDArray[np.float64]]]
    likeliest: Callable[[NDArray[np.float32], int], NDArray[np.int64]]
    draw_bare: Callable[[NDArray[np.float32], Draws, NDArray[np.int64], int], list[list[int]]]
    draw_under: Callable[
        [NDArray[np.float32], Draws, NDArray[np.int64], Sequence[int], Sequence[NDArray[np.int32]]], list[int]
    ]


NUMPY = Kernel(draw_rows, masses, likeliest, draw_bare, draw_under)


def log_probs(
    logits: NDArray[np.float32], tokens: Sequence[int], tops: Sequence[int], kernel: Kernel = NUMPY
) -> tuple[list[float], list[Top]]:
    """ln p(tokens[i]) under softmax of row i of logits [n, vocab], and the tops[i] likeliest of that row."""
    largest, mass = kernel.masses(logits)
    known = logits[np.arange(len(logits)), tokens].astype(np.float64)
    found: list[float] = (known - largest - mass).tolist()
    best: list[Top] = []
    for row, top, z, m in zip(logits, tops, largest, mass, strict=True):
        ids = kernel.likeliest(row, top) if top else np.zeros(0, np.int64)
        best.append(tuple(zip(ids.tolist(), (row[ids].astype(np.float64) - z - m).tolist(), strict=True)))
    return found, best


def _blocks(rows: Sequence[int], vocab: int) -> list[Sequence[int]]:
    step = max(1, _BLOCK // vocab)
    return [rows[at : at + step] for at in range(0, len(rows), step)]


def drawn(ids: list[int], tops: list[float]) -> list[int]:
    """Of each row the likeliest token, ids [n], whose logits are tops [n]. Raises BackendError if one is not finite."""
    if not math.isfinite(sum(tops)):
        check_finite(np.array(tops, np.float32))
    return ids


def resolve(wants: Sequence[Want], logits: NDArray[np.float32], kernel: Kernel = NUMPY) -> list[Drawn]:
    """For each want: logprobs of the known next tokens and, after the last known one, a draw.

    `logits` is [rows, vocab], the rows of the wants one after the other.
    """
    drawing, rows, draws = drawing_of(wants)
    tokens: list[int | None] = [None] * len(wants)
    if draws:
        for number, token in zip(drawing, draw_kept(kernel, _rows(logits, rows), draws), strict=True):
            tokens[number] = token
    return with_logprobs(wants, logits, tokens, kernel)


def drawing_of(wants: Sequence[Want]) -> tuple[list[int], list[int], list[Draw | None]]:
    """Which of the wants draw a token, from which row of all their rows one after the other, and how (None: the
    likeliest)."""
    drawing: list[int] = []
    rows: list[int] = []
    draws: list[Draw | None] = []
    at = 0
    for number, want in enumerate(wants):
        at += len(want.rows)
        if want.draws:
            job, index = want.job, want.index
            sampling, mask = job.request.sampling, job.mask()
            banned = job.output.banned_at(index) if mask is None else frozenset()
            drawing.append(number)
            rows.append(at - 1)
            edits = None
            if job.shaper is not None:
                edits = job.shaper.edits(job.output.tokens)
                mask, banned = job.shaper.narrowed(job.output.tokens, mask, banned)
            plain = sampling.temperature == 0.0 and not banned and mask is None and edits is None
            draws.append(None if plain else Draw(sampling, job.request.key, index, banned, mask, edits))
    return drawing, rows, draws


def with_logprobs(
    wants: Sequence[Want], logits: NDArray[np.float32], tokens: Sequence[int | None], kernel: Kernel = NUMPY
) -> list[Drawn]:
    """What was found for each want: its token, and the logprobs that it asks for, from logits as in `resolve`."""
    if not any(want.job.wants_logprobs for want in wants):
        return [Drawn(token) for token in tokens]
    rows: list[int] = []
    known: list[int] = []
    tops: list[int] = []
    spans: list[tuple[int, int]] = []
    at = 0
    for want, token in zip(wants, tokens, strict=True):
        job, first = want.job, len(known)
        if job.wants_logprobs:
            next_known = job.follow[want.start + 1 : want.start + 1 + len(want.rows)]
            known += next_known if token is None else (*next_known, token)
            count = len(known) - first
            rows += range(at, at + count)
            asked = job.request.top_logprobs
            begin = 0 if job.request.prompt_logprobs else job.prompt_len - 1
            tops += [asked if want.start + i >= begin else 0 for i in range(count)]
        spans.append((first, len(known)))
        at += len(want.rows)
    found, best = log_probs(_rows(logits, rows), known, tops, kernel)
    return [
        Drawn(token, tuple(found[a:b]), tuple(best[a:b]) if want.job.request.top_logprobs else ())
        for want, token, (a, b) in zip(wants, tokens, spans, strict=True)
    ]


def _rows(logits: NDArray[np.float32], rows: list[int]) -> NDArray[np.float32]:
    """The rows of logits named, without a copy if that is all of them."""
    return logits if len(rows) == len(logits) else logits[rows]
