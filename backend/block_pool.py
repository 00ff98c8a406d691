"""Slots for keys and values, handed out in blocks.

A *slot* holds the K/V of one token in all layers; a *block* is `block_size` consecutive slots. Who holds a
token knows its slot, so attention reads at token granularity, and a branch that leaves a half-filled block
shares the filled half as it is and goes on in a block of its own: nothing is ever copied. A block's
reference count is the number of its live slots.
"""

from lampc.backend.errors import OutOfBlocks


class BlockPool:
    """`total` blocks of `block_size` slots; slot ids are 0 .. total*block_size - 1.

    Slots of a block fill from the front: `_fill[b]` is the mark up to which they were handed out. When the
    last ones are released the mark moves back, so that they can be used again.
    """

    def __init__(self, total: int, block_size: int) -> None:
        if total < 1 or block_size < 1:
            raise ValueError(f"a pool of {total} blocks of {block_size} slots holds nothing; give both >= 1")
        self.total = total
        self.block_size = block_size
        self.peak = 0
        self._live = bytearray(total * block_size)
        self._refs = [0] * total
        self._fill = [0] * total
        self._free = list(range(total - 1, -1, -1))

    @property
    def free(self) -> int:
        """Blocks without a live slot."""
        return len(self._free)

    @property
    def used(self) -> int:
        """Blocks with a live slot."""
        return self.total - len(self._free)

    @property
    def live_slots(self) -> int:
        """Slots handed out and not released."""
        return sum(self._refs)

    def room_after(self, slot: int | None) -> int:
        """How many tokens can follow the token in `slot` without a new block."""
        if slot is None:
            return 0
        block, offset = divmod(slot, self.block_size)
        return self.block_size - offset - 1 if self._fill[block] == offset + 1 else 0

    def blocks_for(self, slot: int | None, count: int) -> int:
        """New blocks that `count` tokens after the token in `slot` take."""
        return max(0, -(-(count - self.room_after(slot)) // self.block_size))

    def append(self, slot: int) -> int | None:
        """The slot for one token after the token in `slot`; None, and nothing changed, if no block is free."""
        slot += 1
        block, offset = divmod(slot, self.block_size)
        if not offset or self._fill[block] != offset:
            if not self._free:
                return None
            block, offset = self._free.pop(), 0
            slot = block * self.block_size
            self.peak = max(self.peak, self.used)
        self._fill[block] = offset + 1
        self._refs[block] += 1
        self._live[slot] = 1
        return slot

    def extend(self, slot: int | None, count: int) -> list[int]:
        """Slots for `count` tokens after the token in `slot` (None: at the start of a sequence).

        Raises OutOfBlocks, and then has changed nothing.
        """
        needed = self.blocks_for(slot, count)
        if needed > len(self._free):
            raise OutOfBlocks(needed, len(self._free))
        slots: list[int] = []
        if slot is not None and (room := min(self.room_after(slot), count)):
            self._take(slot // self.block_size, slot + 1, room, slots)
        while len(slots) < count:
            block = self._free.pop()
            self._take(block, block * self.block_size, min(self.block_size, count - len(slots)), slots)
        self.peak = max(self.peak, self.used)
        return slots

    def _take(self, block: int, start: int, count: int, slots: list[int]) -> None:
        slots += range(start, start + count)
        self._live[start : start + count] = b"\1" * count
        self._refs[block] += count
        self._fill[block] = start + count - block * self.block_size

    def release(self, slots: list[int]) -> None:
        """Gives slots back. Raises AssertionError if one is not live (a double free)."""
        for slot in reversed(slots):
            if not self._live[slot]:
                raise AssertionError(f"slot {slot} is released twice")
            self._live[slot] = 0
            block, offset = divmod(slot, self.block_size)
            if self._fill[block] == offset + 1:
                self._fill[block] = offset
            self._refs[block] -= 1
            if self._refs[block] == 0:
                self._fill[block] = 0
                self._free.append(block)

    def check(self, held: list[int]) -> None:
        """Raises AssertionError unless exactly the slots in `held` are live, each held once."""
        assert len(set(held)) == len(held), "a slot is held twice"
        assert all(self._live[slot] for slot in held), "a held slot is not live"
        assert sum(self._live) == len(held), f"{sum(self._live) - len(held)} slots leaked"
        refs = [0] * self.total
        for slot in held:
            refs[slot // self.block_size] += 1
        assert refs == self._refs, "block reference counts are wrong"
        assert len(set(self._free)) == len(self._free), "a block is free twice"
        assert sorted(self._free) == [b for b in range(self.total) if refs[b] == 0], "free list is wrong"
        for slot in held:
            block, offset = divmod(slot, self.block_size)
            assert offset < self._fill[block], "a live slot is past the mark"
