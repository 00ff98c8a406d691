"""The draw itself: one program per row inverts the cumulative sum of the weights that are kept.

Without top-k and top-p the order is that of ids: a tile is found by the sums of tiles, then a token in it. With them it
is the order of falling logits, ties by id, among the tokens that were gathered. It is never sorted: places in it are
found by radix search over the logits' bits, four bits at a time, so 8 passes over the gathered tokens (a few hundred
for common settings, the whole vocabulary at worst) for each of top-k, top-p and the draw.
"""

import triton
import triton.language as tl

from lampc.backend.kernels.uniform import keyed_uniform


@triton.jit
def _weight(key: tl.tensor, top: tl.tensor, temperature: tl.tensor) -> tl.tensor:
    """Weight of the logit that has this place in the order."""
    bits = tl.where(key >= 0x80000000, key ^ 0x80000000, key ^ 0xFFFFFFFF)
    return tl.exp((bits.to(tl.float32, bitcast=True).to(tl.float64) - top.to(tl.float64)) / temperature)


@triton.jit
def _block(
    logits: tl.tensor,
    found: tl.tensor,
    begin: tl.tensor,
    count: tl.tensor,
    top: tl.tensor,
    temperature: tl.tensor,
    block: tl.constexpr,
) -> tl.tensor:
    """Ids, whether they are any, places in the order and weights of gathered tokens from `begin` on."""
    at = begin + tl.arange(0, block)
    there = at < count
    ids = tl.load(found + at, mask=there, other=0)
    z = tl.load(logits + ids, mask=there, other=float("-inf"))
    # Unsigned numbers in the order of the floats; both zeros are one.
    bits = tl.where(z == 0.0, 0.0, z).to(tl.uint32, bitcast=True)
    key = tl.where(bits >= 0x80000000, bits ^ 0xFFFFFFFF, bits ^ 0x80000000)
    return ids, there, key, tl.exp((z.to(tl.float64) - top.to(tl.float64)) / temperature)


@triton.jit
def _search(
    logits: tl.tensor,
    found: tl.tensor,
    count: tl.tensor,
    top: tl.tensor,
    temperature: tl.tensor,
    floor: tl.tensor,
    least: tl.tensor,
    goal: tl.tensor,
    counting: tl.constexpr,
    beyond: tl.constexpr,
    block: tl.constexpr,
) -> tl.tensor:
    """The key in falling order at which weights (numbers, if counting) reach the goal, or pass it if `beyond`; what
    comes before that key, and how many tokens have it. Keys below `floor` and weights below `least` do not count, so
    that a goal which rounding put past the last token finds no other."""
    digits = tl.arange(0, 16)
    prefix = (count * 0).to(tl.uint32)
    before = goal * 0.0
    digit = count * 0
    nothing = tl.zeros([16], tl.float64)
    numbers = nothing.to(tl.int32)
    for i in range(8):
        shift = 28 - 4 * i
        sums = nothing
        numbers = nothing.to(tl.int32)
        begin = count * 0
        while begin < count:
            _, there, key, weight = _block(logits, found, begin, count, top, temperature, block)
            high = key >> shift
            wanted = there & (key >= floor) & (weight >= least) & ((high >> 4) == prefix)
            hit = wanted[:, None] & ((high & 15).to(tl.int32)[:, None] == digits[None, :])
            numbers += tl.sum(hit.to(tl.int32), axis=0)
            if not counting:
                sums += tl.sum(tl.where(hit, weight[:, None], 0.0), axis=0)
            begin += block
        if counting:
            sums = numbers.to(tl.float64)
        reached = before + tl.sum(tl.where(digits[None, :] >= digits[:, None], sums[None, :], 0.0), axis=1)
        if beyond:
            far = (reached > goal) & (numbers > 0)
        else:
            far = (reached >= goal) & (numbers > 0)
        # The highest digit that is far enough; where rounding keeps all short of the goal, the lowest that weighs
        # anything.
        best = tl.max(tl.where(far, digits + 16, tl.where(sums > 0.0, 15 - digits, 0)), axis=0)
        digit = tl.where(best >= 16, best - 16, 15 - best)
        before += tl.sum(tl.where(digits > digit, sums, 0.0), axis=0)
        prefix = prefix * 16 + digit.to(tl.uint32)
    ties = tl.sum(tl.where(digits == digit, numbers, 0), axis=0)
    return prefix, before, ties


@triton.jit
def _draw_filtered(
    logits: tl.tensor,
    found: tl.tensor,
    count: tl.tensor,
    top: tl.tensor,
    temperature: tl.tensor,
    top_k: tl.tensor,
    top_p: tl.tensor,
    min_p: tl.tensor,
    total: tl.tensor,
    u: tl.tensor,
    block: tl.constexpr,
) -> tl.tensor:
    floor = (count * 0).to(tl.uint32)  # the lowest key that is kept
    taken = count  # tokens with that key that are kept, lowest ids first
    if top_k > 0:
        floor, before, ties = _search(
            logits, found, count, top, temperature, floor, 0.0, top_k.to(tl.float64), True, False, block
        )
        taken = tl.minimum(ties, top_k - before.to(tl.int32))
        total = total * 0.0
        begin = count * 0
        while begin < count:
            _, there, key, weight = _block(logits, found, begin, count, top, temperature, block)
            total += tl.sum(tl.where(there & (key > floor), weight, 0.0), axis=0)
            begin += block
        total += taken * _weight(floor, top, temperature)
    if top_p < 1.0:
        goal = top_p * total
        lower, before, ties = _search(logits, found, count, top, temperature, floor, 0.0, goal, False, False, block)
        wanted = tl.ceil((goal - before) / tl.maximum(_weight(lower, top, temperature), 1e-320))
        most = tl.where(lower == floor, tl.minimum(taken, ties), ties)
        taken = tl.minimum(tl.maximum(wanted, 1.0), most.to(tl.float64)).to(tl.int32)
        floor = lower
    total = total * 0.0
    begin = count * 0
    while begin < count:
        _, there, key, weight = _block(logits, found, begin, count, top, temperature, block)
        total += tl.sum(tl.where(there & (key > floor) & (weight >= min_p), weight, 0.0), axis=0)
        begin += block
    lowest = _weight(floor, top, temperature)
    total += tl.where(lowest >= min_p, taken * lowest, 0.0)

    goal = u * total
    key, before, ties = _search(logits, found, count, top, temperature, floor, min_p, goal, False, True, block)
    most = tl.where(key == floor, tl.minimum(taken, ties), ties)
    place = tl.floor((goal - before) / tl.maximum(_weight(key, top, temperature), 1e-320))
    place = tl.minimum(tl.maximum(place, 0.0), (most - 1).to(tl.float64)).to(tl.int32)
    token = count * 0
    passed = count * 0
    begin = count * 0
    while begin < count:
        ids, there, other, _ = _block(logits, found, begin, count, top, temperature, block)
        same = (there & (other == key)).to(tl.int32)
        rank = passed + tl.cumsum(same, axis=0) - 1
        token += tl.sum(tl.where((same > 0) & (rank == place), ids, 0), axis=0)
        passed += tl.sum(same, axis=0)
        begin += block
    return token


@triton.jit
def _draw_plain(
    logits: tl.tensor,
    sums: tl.tensor,
    tiles: tl.tensor,
    vocab: tl.tensor,
    top: tl.tensor,
    temperature: tl.tensor,
    min_p: tl.tensor,
    u: tl.tensor,
    tile: tl.constexpr,
    tile_block: tl.constexpr,
) -> tl.tensor:
    all_tiles = tl.arange(0, tile_block)
    each = tl.load(sums + all_tiles, mask=all_tiles < tiles, other=0.0)
    reached = tl.cumsum(each, axis=0)
    goal = u * tl.max(reached, axis=0)
    part = tl.min(tl.where((reached > goal) & (each > 0.0), all_tiles, tile_block), axis=0)
    # Rounding may put the goal at the very end: the last that weighs anything is meant.
    part = tl.where(part == tile_block, tl.max(tl.where(each > 0.0, all_tiles, 0), axis=0), part)
    before = tl.sum(tl.where(all_tiles == part - 1, reached, 0.0), axis=0)
    at = part * tile + tl.arange(0, tile)
    z = tl.load(logits + at, mask=at < vocab, other=float("-inf"))
    weights = tl.exp((z.to(tl.float64) - top.to(tl.float64)) / temperature)
    kept = (weights >= min_p) & (weights > 0.0)
    inside = before + tl.cumsum(tl.where(kept, weights, 0.0), axis=0)
    token = tl.min(tl.where((inside > goal) & kept, at, vocab), axis=0)
    return tl.where(token == vocab, tl.max(tl.where(kept, at, 0), axis=0), token)


@triton.jit
def draw_kernel(
    logits: tl.tensor,
    tops: tl.tensor,
    temperatures: tl.tensor,
    top_ks: tl.tensor,
    top_ps: tl.tensor,
    min_ps: tl.tensor,
    keys: tl.tensor,
    indices: tl.tensor,
    sums: tl.tensor,
    found: tl.tensor,
    counted: tl.tensor,
    tokens: tl.tensor,
    vocab: tl.tensor,
    tiles: tl.tensor,
    tile: tl.constexpr,
    tile_block: tl.constexpr,
    block: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    all_tiles = tl.arange(0, tile_block)
    top = tl.max(tl.load(tops + row * tiles + all_tiles, mask=all_tiles < tiles, other=float("-inf")), axis=0)
    temperature = tl.load(temperatures + row)
    if (temperature > 0.0) & (tl.abs(top) < float("inf")):
        top_k = tl.load(top_ks + row)
        top_k = tl.where(top_k < vocab, top_k, 0)
        top_p = tl.load(top_ps + row)
        min_p = tl.load(min_ps + row)
        u = keyed_uniform(tl.load(keys + row), tl.load(indices + row))
        z = logits + row * vocab
        if (top_k > 0) | (top_p < 1.0):
            each = tl.load(sums + row * tiles + all_tiles, mask=all_tiles < tiles, other=0.0)
            total = tl.sum(each, axis=0)
            count = tl.load(counted + row)
            token = _draw_filtered(
                z, found + row * vocab, count, top, temperature, top_k, top_p, min_p, total, u, block
            )
        else:
            token = _draw_plain(z, sums + row * tiles, tiles, vocab, top, temperature, min_p, u, tile, tile_block)
        tl.store(tokens + row, token.to(tl.int64))
