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
    from lampc.runtime.models import Model
    from lampc.runtime.providers.prices import Price
    from lampc.runtime.session import Session
    from lampc.runtime.types import Row


@dataclass
class _Actual:
    """What a run of the rows did. `bounds` are of the predictors whose prompts are known, those of models on this
    machine; `here` is what these models did, `endpoints` what each of the others did, by name."""

    nodes: dict[str, NodeAccount]
    usage: Usage
    here: Usage
    endpoints: dict[str, Usage]
    seconds: float
    held: int
    kv_bytes: int
    bounds: dict[str, int] | None
    reads: KvReads
    failures: list[str]

    @property
    def bound(self) -> int | None:
        return sum(self.bounds.values()) if self.bounds else None


@dataclass(frozen=True)
class _Endpoint:
    """What is foreseen of one endpoint: of its prompt cache, and how many tokens go to it and come from it."""

    plan: EndpointPlan
    prompt: int
    generated: int


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
    endpoints: dict[str, _Endpoint] = field(default_factory=dict)

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

    def _endpoints(self, found: Estimate) -> dict[str, _Endpoint]:
        """Of each endpoint what its prompt cache would make of the prompts."""
        from lampc.runtime.endpoint_plan import endpoint_plan
        from lampc.runtime.providers.rules import rules_for

        by_model: dict[Model, list[NodeEstimate]] = {}
        for node in found.nodes.values():
            if node.sent:
                model = self.session.models.get(node.model, self.loaded.module).model
                by_model.setdefault(model, []).append(node)
        out = {}
        for model, nodes in by_model.items():
            client = getattr(model, "client", None)
            plan = endpoint_plan(nodes, client.rules if client is not None else rules_for(""))
            tokens = sum(n.prompt_tokens for n in nodes), sum(n.generated for n in nodes)
            out[model.target.info.name] = _Endpoint(plan, *tokens)
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
        used, books = session.usage, session.desk.books
        bounds, here, endpoints = books.bounds(), Usage(), dict[str, Usage]()
        for (name, local), its in books.by_model.items():
            if local:
                here += its
            else:
                endpoints[name] = its
        if bounds is not None:  # what was computed elsewhere has no prompts of token ids
            bounds = {n: b for n, b in bounds.items() if b or not nodes[n].usage.computed_tokens}
        held = accounts.held, accounts.kv_bytes
        return _Actual(nodes, used, here, endpoints, used.seconds, *held, bounds, reads, failures)

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
        for name, endpoint in planned.endpoints.items():
            told = endpoint.plan.lines()
            if actual is not None:
                used = actual.endpoints.get(name, Usage())
                told.append(f"prompt cache gave: {used.cached_tokens:,} of {used.prompt_tokens:,} prompt tokens")
            lines += [f"`{name}`: {line}" for line in told] if len(planned.endpoints) > 1 else told
        if self.price is not None:
            lines.append(f"price expected: {_cost(self.price, planned)}")
            if actual is not None:
                used = sum(actual.endpoints.values(), Usage()) if planned.endpoints else actual.usage
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
            bound = None if actual.bounds is None else actual.bounds.get(name)
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
        computed = actual.here.computed_tokens
        beside = beside_bound(computed, actual.bound)
        lines.append(f"computed {computed:,} prompt tokens; the prefix tree needs {actual.bound:,} ({beside})")
    lines.append(f"generated {used.generated_tokens:,} tokens in {used.seconds:.1f} s")
    if session.ahead is not None and session.ahead.tally.begun:
        lines.append(str(session.ahead.tally))
    lines += [f"failed: {clip(failure)}" for failure in actual.failures[:3]]
    if len(actual.failures) > 3:
        lines.append(f"... and {len(actual.failures) - 3} more rows failed")
    return "\n".join(lines)


def _cost(price: Price, planned: _Planned) -> str:
    """For nothing, and for all that an endpoint's cache gives; in its batches, where it has them."""
    endpoints, used = planned.endpoints.values(), planned.usage
    sent, written = _fresh(used), used.generated_tokens
    if endpoints:  # what models on this machine do costs nothing
        sent, written = sum(e.prompt for e in endpoints), sum(e.generated for e in endpoints)
    said = [f"{price.cost(sent, written):.4f}"]
    if any(e.plan.rules.caches for e in endpoints):
        said.append(f"{sum(e.plan.cost(price, e.generated) for e in endpoints):.4f} with its prompt cache")
    elif price.cached is not None:
        shared = max(sent - planned.bound, 0)
        said.append(f"{price.cost(sent, written, shared):.4f} if all shared prefixes are cached")
    rates = {e.plan.rules.batch_price for e in endpoints}
    if rates and max(rates) < 1:
        hours = max(e.plan.rules.batch_hours for e in endpoints)
        batched = price.times(max(rates)).cost(sent, written)
        said.append(f"{batched:.4f} in offline batches (--batch, within {hours} h)")
    return ", or ".join(said)


def _fresh(used: Usage) -> int:
    """Prompt tokens that were sent."""
    return used.prompt_tokens - used.stored_tokens


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
