"""The table of `lampc explain`: what a run would do, and with `--analyze` what it did, predictor by predictor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lampc.runtime.accounts import Accounts, NodeAccount
from lampc.runtime.cli.explain import columns, kv_table
from lampc.runtime.cli.failure import clip
from lampc.runtime.types import Usage

if TYPE_CHECKING:
    from lampc.runtime.cli.sources import Loaded
    from lampc.runtime.endpoint_plan import EndpointPlan
    from lampc.runtime.estimate import Estimate, NodeEstimate
    from lampc.runtime.forecast import Forecast
    from lampc.runtime.kvreads import KvReads
    from lampc.runtime.providers.prices import Price
    from lampc.runtime.session import Session
    from lampc.runtime.types import Row


@dataclass
class _Actual:
    """What a run of the rows did."""

    nodes: dict[str, NodeAccount]
    usage: Usage
    seconds: float
    held: int
    kv_bytes: int
    bounds: dict[str, int] | None
    reads: KvReads
    failures: list[str]

    @property
    def bound(self) -> int | None:
        return None if self.bounds is None else sum(self.bounds.values())


@dataclass
class _Planned:
    """A plan, by whichever way it was found: `timed` if seconds and memory are known."""

    nodes: dict[str, NodeAccount]
    bounds: dict[str, int]
    usage: Usage
    timed: bool
    seconds: float = 0.0
    host: float = 0.0
    held: int = 0
    kv_bytes: int = 0
    failed: int = 0
    why: str = ""
    rows: int = 0
    endpoints: list[tuple[EndpointPlan, int]] = field(default_factory=list)  # each with the tokens that it writes

    @property
    def bound(self) -> int:
        return sum(self.bounds.values())


@dataclass
class Explained:
    """A program on its rows, to be planned and perhaps run in a session."""

    session: Session
    loaded: Loaded
    rows: list[Row]
    entry: str
    labels: str = ""
    price: Price | None = None
    record: Path | None = None
    _notes: list[str] = field(default_factory=list)

    def table(self, analyze: bool) -> str:
        """The whole text; with `analyze` the rows are run."""
        planned = self._planned()
        actual = self._run() if analyze else None
        parts = [columns(_lines(planned, actual, self.labels))]
        if planned.failed:
            parts.append(
                f"{planned.failed} of {planned.rows} rows could not be followed with guessed answers: {planned.why}"
            )
        parts.append(self._estimates(planned, actual))
        parts.insert(1, _legend(analyze))
        if actual is not None:
            parts.append(_verdict(self.session, actual))
            if actual.reads.models:
                parts.append(kv_table(actual.reads))
        return "\n\n".join(part for part in parts if part)

    def _planned(self) -> _Planned:
        from lampc.runtime.estimate import estimate
        from lampc.runtime.forecast import forecast

        loaded = self.loaded
        record = self.record / "plan" if self.record is not None else None
        found = forecast(
            self.session,
            loaded.module,
            self.rows,
            self.entry,
            loaded.assignment,
            record=record,
            brought=loaded.unit.retrievers,
        )
        if found is not None:
            return _foreseen(found)
        guessed = estimate(self.session, loaded.module, self.rows, self.entry, loaded.assignment, loaded.base)
        planned = _guessed(guessed)
        planned.endpoints = self._endpoints(guessed)
        return planned

    def _endpoints(self, found: Estimate) -> list[tuple[EndpointPlan, int]]:
        """Of each endpoint what its prompt cache would make of the prompts."""
        from lampc.runtime.endpoint_plan import endpoint_plan
        from lampc.runtime.providers.rules import rules_for

        by_model: dict[str, list[NodeEstimate]] = {}
        for node in found.nodes.values():
            if node.sent:
                by_model.setdefault(node.sent[0].bound.model, []).append(node)
        out = []
        for name, nodes in by_model.items():
            client = getattr(self.session.models.get(name, self.loaded.module).model, "client", None)
            rules = client.rules if client is not None else rules_for("")
            out.append((endpoint_plan(nodes, rules), sum(n.generated for n in nodes)))
        return out

    def _run(self) -> _Actual:
        from lampc.ir.adapters import bind_predictors
        from lampc.runtime.compile import models_of
        from lampc.runtime.experience import remember
        from lampc.runtime.kvreads import KvReads
        from lampc.runtime.recorded import recorded

        session, loaded = self.session, self.loaded
        exe = session.executable(loaded.module, self.entry, loaded.assignment)
        names = sorted(models_of(exe.module))
        models = [session.models.get(name, loaded.module).model for name in names]
        with (
            Accounts(session.bus, models) as accounts,
            KvReads(session, loaded.module, exe) as reads,
            recorded(self.record / "run" if self.record is not None else None, session.desk),
        ):
            outcomes = session.run(loaded.unit, self.rows, entry=self.entry, assignment=loaded.assignment)
            session.settle()
        remember(session, loaded.module, bind_predictors(exe.module, loaded.assignment), outcomes)
        nodes = {name: accounts.node(name, used) for name, used in session.usage_by_node.items()}
        failures = [str(o.error) for o in outcomes if o.error is not None]
        used, bounds = session.usage, session.desk.books.bounds()
        return _Actual(nodes, used, used.seconds, accounts.held, accounts.kv_bytes, bounds, reads, failures)

    def _estimates(self, planned: _Planned, actual: _Actual | None) -> str:
        """What is foreseen of the whole, and how near that was."""
        lines = []
        if planned.timed:
            expected = planned.seconds + planned.host
            line = f"expected: {expected:.2f} s, of these {planned.host:.2f} s outside of engines"
            if planned.kv_bytes:
                line += f"; K/V of {planned.held:,} tokens at a time ({_bytes(planned.kv_bytes)})"
            lines.append(line)
            if actual is not None:
                line = f"actual:   {actual.seconds:.2f} s"
                if actual.seconds:
                    line += f" (est/act {expected / actual.seconds:.2f})"
                if actual.held:
                    line += f"; K/V of {actual.held:,} tokens at a time ({_bytes(actual.kv_bytes)})"
                lines.append(line)
        for plan, _ in planned.endpoints:
            lines += plan.lines()
        if actual is not None and planned.endpoints:
            used = actual.usage
            lines.append(f"prompt cache gave: {used.cached_tokens:,} of {_fresh(used):,} prompt tokens")
        if self.price is not None:
            lines.append(f"price expected: {_cost(self.price, planned)}")
            if actual is not None:
                used = actual.usage
                paid = self.price.cost(_fresh(used), used.generated_tokens, used.cached_tokens)
                lines.append(f"price of the run: {paid:.4f}")
        return "\n".join(lines)


def _foreseen(found: Forecast) -> _Planned:
    return _Planned(
        found.nodes,
        found.bounds,
        found.usage,
        True,
        found.seconds,
        found.host,
        found.held,
        found.kv_bytes,
        found.failed,
        found.why,
        found.rows,
    )


def _guessed(found: Estimate) -> _Planned:
    nodes = {
        n.name: NodeAccount(Usage(n.calls, prompt_tokens=n.prompt_tokens, generated_tokens=n.generated))
        for n in found.nodes.values()
    }
    total = sum((n.usage for n in nodes.values()), Usage())
    return _Planned(nodes, found.bounds(), total, False, failed=found.failed, why=found.why, rows=found.rows)


def _lines(planned: _Planned, actual: _Actual | None, labels: str) -> list[list[str]]:
    """Head, a line for each predictor, and the total."""
    both = actual is not None
    act = ["act"] if both else []
    head = ["node", "calls", *act, "rows", *act, "prompt tok", *act, "computed", *act, "reused", *act, "decode", *act]
    out = [[*head, "wall", *act, *(["est/act"] if both else []), "bound", *act, "label"]]
    names = [*planned.nodes, *(n for n in (actual.nodes if actual else ()) if n not in planned.nodes)]
    for name in names:
        expected = planned.nodes.get(name, NodeAccount()), planned.bounds.get(name, 0)
        found = None
        if actual is not None:
            bound = None if actual.bounds is None else actual.bounds.get(name, 0)
            found = actual.nodes.get(name, NodeAccount()), bound
        out.append([name, *_cells(*expected, found, planned.timed, labels)])
    whole = NodeAccount(planned.usage, planned.rows, planned.seconds), planned.bound
    ran = None
    if actual is not None:
        rows = max((n.rows for n in actual.nodes.values()), default=0)
        ran = NodeAccount(actual.usage, rows, sum(n.seconds for n in actual.nodes.values())), actual.bound
    out.append(["total", *_cells(*whole, ran, planned.timed, labels)])
    return out


def _cells(
    planned: NodeAccount, bound: int, actual: tuple[NodeAccount, int | None] | None, timed: bool, labels: str
) -> Sequence[str]:
    """What was expected in each column, and beside it the actual figure of the same."""
    expected = [text if timed or known else "-" for text, known in _figures(planned, bound)]
    if actual is None:
        stored = planned.usage.stored_calls
        cells = expected
    else:
        stored = actual[0].usage.stored_calls
        found = [text for text, _ in _figures(*actual)]
        cells = [cell for pair in zip(expected, found, strict=True) for cell in pair]
        seconds = actual[0].seconds
        cells.insert(-2, f"{planned.seconds / seconds:.2f}" if timed and seconds else "-")
    return [*cells, f"{labels or '-'}{f' joined: {stored}' if stored else ''}"]


def _figures(account: NodeAccount, bound: int | None) -> list[tuple[str, bool]]:
    """The columns of one side: the text, and whether it is known of a plan without costs of steps."""
    used = account.usage
    return [
        (f"{used.calls:,}", True),
        (f"{account.rows:,}", False),
        (f"{used.prompt_tokens:,}", True),
        (f"{used.computed_tokens:,}", False),
        (_share(used.cached_tokens + used.stored_tokens, used.prompt_tokens), False),
        (f"{used.generated_tokens:,}", True),
        (f"{account.seconds:.2f} s" if account.seconds else "-", False),
        (f"{bound:,}" if bound is not None else "?", True),
    ]


def _legend(analyze: bool) -> str:
    """What the columns are."""
    lines = [
        "computed: prompt tokens that go through the model; reused: the share that does not; decode: tokens written;",
        "wall: share of the engines' steps; bound: prompt tokens that one prefix tree of all calls needs (what several",
        "predictors have in common counts at one of them), so the least that can be computed in all",
    ]
    beside = "act: what it was in the run; est/act: of wall" if analyze else "expected figures; --analyze runs the rows"
    return "\n".join([*lines, beside])


def _verdict(session: Session, actual: _Actual) -> str:
    from lampc.runtime.plan import beside_bound

    used, lines = session.usage, []
    if actual.bound:
        beside = beside_bound(used.computed_tokens, actual.bound)
        lines.append(
            f"computed {used.computed_tokens:,} prompt tokens; the prefix tree needs {actual.bound:,} ({beside})"
        )
    lines.append(f"generated {used.generated_tokens:,} tokens in {used.seconds:.1f} s")
    if session.ahead is not None and session.ahead.tally.begun:
        lines.append(str(session.ahead.tally))
    lines += [f"failed: {clip(failure)}" for failure in actual.failures[:3]]
    if len(actual.failures) > 3:
        lines.append(f"... and {len(actual.failures) - 3} more rows failed")
    return "\n".join(lines)


def _cost(price: Price, planned: _Planned) -> str:
    """For nothing, and for all that an endpoint's cache gives; in its batches, where it has them."""
    used = planned.usage
    said = [f"{price.cost(_fresh(used), used.generated_tokens):.4f}"]
    if any(plan.rules.caches for plan, _ in planned.endpoints):
        said.append(
            f"{sum(plan.cost(price, written) for plan, written in planned.endpoints):.4f} with its prompt cache"
        )
    elif price.cached is not None:
        shared = max(_fresh(used) - planned.bound, 0)
        cached = price.cost(_fresh(used), used.generated_tokens, shared)
        said.append(f"{cached:.4f} if all shared prefixes are cached")
    rates = {plan.rules.batch_price for plan, _ in planned.endpoints}
    if rates and max(rates) < 1:
        hours = max(plan.rules.batch_hours for plan, _ in planned.endpoints)
        batched = price.times(max(rates)).cost(_fresh(used), used.generated_tokens)
        said.append(f"{batched:.4f} in offline batches (--batch, within {hours} h)")
    return ", or ".join(said)


def _fresh(used: Usage) -> int:
    """Prompt tokens that were sent."""
    return used.prompt_tokens - used.stored_tokens


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
