"""Planning over bound prompts: the prefix tree of token ids, its size, its order, its shared prefixes.

Only here are token ids of all rows and candidates known, so only here can sharing between them be seen.
The order is depth-first through the tree, which for token sequences is their lexicographic order: calls
that share most run next to each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lampc.passes.schedule.block_tree import common_prefix, packed, packed_prefix

if TYPE_CHECKING:
    from lampc.runtime.models import Model, ModelCall


def prefix_bound(prompts: Iterable[Sequence[int]], written: Iterable[Sequence[int]] = ()) -> int:
    """Number of nodes of the token trie of `prompts`: the fewest prompt tokens that must be computed.

    `written[i]` is what the model wrote after prompt i. A prompt that goes on from there finds these tokens computed
    already, so they do not count.
    """
    return sum(prefix_shares(prompts, written).values())


def prefix_shares(
    prompts: Iterable[Sequence[int]], written: Iterable[Sequence[int]] = ()
) -> dict[tuple[int, ...], int]:
    """The same, by distinct prompt: what several have in common counts at the first of them in the order of their
    ids."""
    after: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for prompt, answer in itertools.zip_longest(map(tuple, prompts), map(tuple, written), fillvalue=()):
        after.setdefault(prompt, []).append(answer)
    shares: dict[tuple[int, ...], int] = {}
    last: tuple[int, ...] = ()
    above: list[tuple[int, ...]] = []  # the prompts that are prefixes of this one
    for prompt in sorted(after):
        first, last = common_prefix(last, prompt), prompt
        while above and prompt[: len(above[-1])] != above[-1]:
            above.pop()
        share, known = len(prompt) - first, first
        for start in above:
            end = len(start) + max(common_prefix(prompt[len(start) :], answer) for answer in after[start])
            share -= max(end - max(known, len(start)), 0)
            known = max(known, end)
        above.append(prompt)
        shares[prompt] = share
    return shares


def beside_bound(computed: int, bound: int) -> str:
    """How many prompt tokens were computed above the bound, in words. Fewer than the bound is possible where an
    earlier run computed a part, or where what the model wrote is not known any more."""
    if computed < bound:
        return f"{bound - computed:,} of them were there already"
    return f"{100 * (computed / bound - 1):+.2f} % computed above that"


@dataclass(slots=True)
class PrefixTree:
    """Calls in depth-first order. `joints[i]` is how many tokens call i has in common with the one before it,
    `shared[i]` with either neighbour."""

    calls: list[ModelCall]
    shared: list[int]
    joints: list[int]

    @staticmethod
    def of(calls: Iterable[ModelCall]) -> PrefixTree:
        given = list(calls)
        keys = [packed(call.ids) for call in given]
        order = sorted(range(len(given)), key=keys.__getitem__)
        ordered = [given[i] for i in order]
        joints = [packed_prefix(keys[i], keys[j]) for i, j in itertools.pairwise(order)]
        padded = [0, *joints, 0]
        return PrefixTree(ordered, [max(padded[i], padded[i + 1]) for i in range(len(ordered))], padded[: len(ordered)])


@dataclass(slots=True, eq=False)
class _Held:
    """A prefix that the model keeps for `consumers` calls; `ref` None once it was let go."""

    ids: tuple[int, ...]
    ref: Any
    consumers: int = 0


@dataclass(slots=True, eq=False)
class Early:
    """A prefix that is computed before the call that it is for; `computed` of its tokens, once it is.
    `number` is what events call the request."""

    ref: Any
    number: int = 0
    computed: int = 0


class Room:
    """What plans may hold of a KV cache, all of models that share one: no more than leaves room for the longest call
    so far, as what is held by a plan must never keep a call from running. Where a model does not say how many tokens
    its cache holds (`kv_tokens`), there is room for all."""

    def __init__(self, model: Model) -> None:
        self._capacity: int = getattr(model, "kv_tokens", 0)
        self.block: int = getattr(model, "block_size", 1)
        self.plans: list[SharedPrefixes] = []
        self._longest = 0
        self._size = 0  # tokens that references hold, or more
        self._exact = False  # whether what was let go is out of it

    def make(self, calls: Sequence[ModelCall], plan: SharedPrefixes) -> None:
        """Lets go what would be in the way of the longest call: of what this plan holds, and then of the others, the
        last first."""
        if not self._capacity:
            return
        for call in calls:
            most = call.sampling.max_tokens or plan.model.target.info.context_length - len(call.ids)
            self._longest = max(self._longest, len(call.ids) + max(most, len(call.score)) + self.block)
        plans = [plan, *(other for other in self.plans if other is not plan)]
        self._exact = False
        for other in plans:
            if other.foretold and not self.fits(0):
                other.forget()
                self._exact = False
        for other in plans:
            while not self.fits(0) and other.let_go():
                self._exact = False

    def fits(self, more: int) -> bool:
        """Whether so many more tokens may be held; they are counted if so."""
        if not self._capacity:
            return True
        if self._size + more + self._longest > self._capacity and not self._exact:
            self._size, self._exact = sum(plan.size for plan in self.plans), True
        if self._size + more + self._longest > self._capacity:
            return False
        self._size += more
        return True


class SharedPrefixes:
    """Holds on to shared prefixes while a planned call still needs them: each reference counts its consumers and is
    released at the last one. As far as there is `room` the first ones in order are held, the others stay cached.
    """

    def __init__(self, model: Model, room: Room | None = None) -> None:
        self.model = model
        self._room = room or Room(model)
        self._room.plans.append(self)
        self._refs: dict[tuple[int, ...], _Held] = {}
        self._of_call: dict[int, tuple[int, ...]] = {}
        self._consumes: dict[int, _Held] = {}
        self._early: dict[tuple[int, ...], Early] = {}

    def plan(self, calls: Iterable[ModelCall]) -> list[ModelCall]:
        """The calls in the order in which to run them; their shared prefixes are retained from now on."""
        tree = PrefixTree.of(calls)
        self._room.make(tree.calls, self)
        prefix: tuple[int, ...] = ()
        last: tuple[int, ...] = ()  # that is held
        for call, length, joint in zip(tree.calls, tree.shared, tree.joints, strict=True):
            if length != len(prefix) or joint < length:  # else it is the one before: kept once for all who share it
                prefix = call.ids[:length]
            if not prefix:
                continue
            self._of_call[id(call)] = prefix
            held = self._refs.get(prefix)
            if held is None:
                if not self._room.fits(len(prefix) - common_prefix(prefix, last) + self._room.block):
                    continue
                held = self._refs[prefix] = _Held(prefix, self.model.retain(prefix))
            held.consumers += 1
            self._consumes[id(call)] = held
            last = prefix
        return tree.calls

    def hold(self, ids: tuple[int, ...], number: int = 0) -> bool:
        """Holds a prefix that is computed for a call to come, if there is room: until that is done, or `forget`."""
        if ids in self._early or not self._room.fits(len(ids) + self._room.block):
            return False
        self._early[ids] = Early(self.model.retain(ids), number)
        return True

    def forget(self) -> None:
        """Calls to come will not come."""
        for early in self._early.values():
            self.model.release(early.ref)
        self._early.clear()

    def was_computed(self, ids: tuple[int, ...], computed: int) -> None:
        """So many tokens of a held prefix went through the model for it."""
        if ids in self._early:
            self._early[ids].computed = computed

    def early(self, ids: tuple[int, ...]) -> Early | None:
        """What was computed before a call came, the most of it; it is held no more."""
        found = max((k for k in self._early if ids[: len(k)] == k), key=len, default=None)
        if found is None:
            return None
        early = self._early.pop(found)
        self.model.release(early.ref)
        return early

    def length(self, call: ModelCall) -> int:
        """How many tokens of a planned call are shared with one beside it in the order."""
        return len(self._of_call.get(id(call), ()))

    def done(self, call: ModelCall) -> None:
        """A planned call has finished."""
        self._of_call.pop(id(call), None)
        held = self._consumes.pop(id(call), None)
        if held is None:
            return
        held.consumers -= 1
        if not held.consumers and self._refs.get(held.ids) is held:
            self._release(held)

    def close(self) -> None:
        """Release whatever is still held (a run that was cut short)."""
        for held in list(self._refs.values()):
            self._release(held)
        self.forget()
        self._of_call.clear()
        self._consumes.clear()

    @property
    def foretold(self) -> bool:
        """Whether anything is held for calls to come."""
        return bool(self._early)

    @property
    def size(self) -> int:
        """How many tokens are held, or more."""
        held = [*self._refs, *self._early]
        return prefix_bound(held) + len(held) * self._room.block

    def let_go(self) -> bool:
        """Release what was held last, though calls need it; False if there is nothing."""
        if not self._refs:
            return False
        self._release(next(reversed(self._refs.values())))
        return True

    def _release(self, held: _Held) -> None:
        del self._refs[held.ids]
        if held.ref is not None:
            self.model.release(held.ref)
            held.ref = None


class Plans(dict["Model", SharedPrefixes]):
    """Those of several models, made on first use. Models that share a KV cache (`seats`) share its room."""

    def __init__(self) -> None:
        super().__init__()
        self._rooms: dict[Any, Room] = {}

    def __missing__(self, model: Model) -> SharedPrefixes:
        cache = getattr(model, "seats", model)
        if cache not in self._rooms:
            self._rooms[cache] = Room(model)
        self[model] = SharedPrefixes(model, self._rooms[cache])
        return self[model]
