"""An endpoint's prompt cache as its client sees it: which beginnings it has, what marks them, who goes first.

Of several calls whose prompts begin alike the first goes alone; the others follow when its first token comes, because
its beginning is in the cache by then (sent at once, each of them would be computed and paid in full). A beginning that
only some of the others share makes the first of those go before the rest of them, and so on down the tree.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol

from lampc.runtime.providers.rules import CHARACTERS, Rules

_MOST = 1 << 17
"""Most beginnings that are remembered."""


class Caller(Protocol):
    """A call as it waits to be sent: its body, and those who wait for its first token."""

    body: dict[str, Any]
    marks: tuple[bytes, ...]
    held: deque[Any]


class PromptCache:
    """See the module's text. One for each client; not safe to use from several threads at once.

    A beginning is known by a digest of its text; its length is guessed, as nobody but the provider knows its tokens.
    """

    def __init__(self, rules: Rules, clock: Callable[[], float] = time.monotonic) -> None:
        self.rules = rules
        self.held = 0  # calls that waited for another one
        self._clock = clock
        self._uses: OrderedDict[bytes, int] = OrderedDict()  # how many calls have a beginning
        self._warm: OrderedDict[bytes, float] = OrderedDict()  # until when
        self._leads: dict[bytes, Any] = {}  # who is putting it into the cache

    # -- what prompts have in common ------------------------------------------------------------------

    def marks(self, body: Mapping[str, Any]) -> tuple[bytes, ...]:
        """Digests of a prompt's beginnings that the cache may give, the shortest first."""
        rules = self.rules
        if rules.cache == "breakpoints":
            return tuple(mark for _, mark in self._ends(body))
        text = "".join(_parts(body))
        first, step = rules.minimum * CHARACTERS, rules.grain * CHARACTERS
        out: list[bytes] = []
        hashed, at = blake2b(digest_size=12), 0
        for end in range(max(first, step), len(text) + 1, step):
            hashed.update(text[at:end].encode("utf-8", "surrogatepass"))
            out.append(hashed.digest())
            at = end
        return tuple(out)

    def _ends(self, body: Mapping[str, Any]) -> list[tuple[int, bytes]]:
        """(message, digest of all up to its end) where a breakpoint may stand: at the end of what the system says, and
        at the end of the last message before the one that is answered; not where there is too little to be kept."""
        parts, rules = _parts(body), self.rules
        places = sorted(i for i in {0, len(parts) - 3} if 0 <= i < len(parts) - 2)
        wanted = places[-rules.breakpoints :] if rules.breakpoints else []
        hashed, size, out = blake2b(digest_size=12), 0, []
        for i, part in enumerate(parts[:-1]):
            hashed.update(part.encode("utf-8", "surrogatepass"))
            size += len(part)
            if i - 1 in wanted and size >= rules.minimum * CHARACTERS:
                out.append((i - 1, hashed.digest()))
        return out

    def expect(self, call: Caller) -> None:
        """A call will be made: what it shares with others is worth keeping."""
        call.marks = self.marks(call.body)
        for mark in call.marks:
            self._uses[mark] = self._uses.pop(mark, 0) + 1
        while len(self._uses) > _MOST:
            self._uses.popitem(last=False)

    # -- who goes first -------------------------------------------------------------------------------

    def enter(self, call: Any) -> Any | None:
        """None if the call may go; else the call on which it has to wait, among whose `held` it then is."""
        now = self._clock()
        cold = [m for m in call.marks if self._warm.get(m, 0.0) <= now]
        for mark in cold:
            lead = self._leads.get(mark)
            if lead is not None and lead is not call:
                lead.held.append(call)
                self.held += 1
                return lead
        for mark in call.marks:
            if mark in self._warm:
                self._warm[mark] = now + self.rules.lifetime  # a use keeps it
        for mark in cold:
            self._leads[mark] = call
        return None

    def leads(self, call: Any) -> bool:
        """Whether others have use for what the call puts into the cache."""
        return any(self._leads.get(m) is call and self._uses.get(m, 0) > 1 for m in call.marks)

    def warmed(self, call: Any) -> list[Any]:
        """The call's first token has come; gives those who waited for it."""
        until = self._clock() + self.rules.lifetime
        for mark in call.marks:
            if self._leads.get(mark) is call:
                self._warm[mark] = until
                self._warm.move_to_end(mark)
        while len(self._warm) > _MOST:
            self._warm.popitem(last=False)
        return self.left(call)

    def left(self, call: Any) -> list[Any]:
        """The call is over, whether it came to something or not; gives those who waited for it."""
        for mark in call.marks:
            if self._leads.get(mark) is call:
                del self._leads[mark]
        waiting, call.held = list(call.held), deque()
        return waiting

    # -- what is sent ---------------------------------------------------------------------------------

    def hinted(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request with what tells the provider of its beginning. The texts stay as they are."""
        rules = self.rules
        if rules.key and rules.key not in body:
            return self._keyed(body)
        if rules.cache == "breakpoints":
            return self._marked(body)
        return body

    def _keyed(self, body: dict[str, Any]) -> dict[str, Any]:
        """All but the last message is what calls of one predictor have in common."""
        parts = _parts(body)
        if len(parts) < 3 or sum(map(len, parts)) < self.rules.minimum * CHARACTERS:
            return body
        common = "".join(parts[:-1]).encode("utf-8", "surrogatepass")
        return {**body, self.rules.key: f"lampc-{blake2b(common, digest_size=8).hexdigest()}"}

    def _marked(self, body: dict[str, Any]) -> dict[str, Any]:
        """Breakpoints where it pays: keeping costs more than computing, so what is asked once is not kept."""
        places = [i for i, mark in self._ends(body) if self.rules.pays(self._uses.get(mark, 1))]
        if not places or "cache_control" in json.dumps(body["messages"]):
            return body  # who sets breakpoints knows where
        messages = list(body["messages"])
        for i in places:
            messages[i] = _with_breakpoint(messages[i])
        return {**body, "messages": messages}


def _parts(body: Mapping[str, Any]) -> list[str]:
    """A prompt in the order in which providers read it: tools and formats of answers, then each message."""
    first = json.dumps([body.get("tools"), body.get("response_format")], sort_keys=True, default=str)
    messages: Sequence[Mapping[str, Any]] = body["messages"]
    return [first, *(_text(m) for m in messages)]


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str) and len(message) == 2:
        return f"{message.get('role')}\n{content}\n"
    return json.dumps(message, sort_keys=True, default=str)


def _with_breakpoint(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    text: dict[str, Any] = {"type": "text", "text": content}
    parts = [text] if isinstance(content, str) else list(content or ())
    if parts:
        parts[-1] = {**parts[-1], "cache_control": {"type": "ephemeral"}}
    return {**message, "content": parts}


__all__ = ["Caller", "PromptCache"]
