"""The tokens that engines have counted themselves, compared with those that were sealed: for each start of an engine.

An engine counts the prompt tokens that it computed, so cached ones are left out on both sides. Where the two differ,
only requests whose usage nobody reported to the end can be the reason, each by no more than what it was admitted for.
What a person corrected later is no report, and changes nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from weighbridge.gateway.invoicing.billing import whole
from weighbridge.gateway.ledger.database import Row, Transaction

State = Literal["agrees", "explained", "running", "differs", "unverifiable"]
Pair = tuple[int, int]

READING = 5_000
"""Counters are read at most so many ms before they are written down; what is sealed between may not be in them."""

_SUMS = """SELECT i.engine_start, MIN(i.model), COUNT(*), e.last, e.counted, e.input, e.output,
  SUM(CASE WHEN e.last IS NULL OR s.seq <= e.last THEN COALESCE(s.input - s.cached, 0) ELSE 0 END),
  SUM(CASE WHEN e.last IS NULL OR s.seq <= e.last THEN COALESCE(s.output, 0) ELSE 0 END),
  SUM(CASE WHEN s.seq <= e.last AND s.at > e.counted - ? THEN COALESCE(s.input - s.cached, 0) ELSE 0 END),
  SUM(CASE WHEN s.seq <= e.last AND s.at > e.counted - ? THEN COALESCE(s.output, 0) ELSE 0 END)
FROM intents i LEFT JOIN seals s ON s.intent = i.id LEFT JOIN engine_starts e ON e.id = i.engine_start
GROUP BY i.engine_start, e.last, e.counted, e.input, e.output"""

_OPEN_ENDED = """SELECT i.seq, i.engine_start, i.id,
  CASE WHEN s.seq IS NOT NULL AND (e.last IS NULL OR s.seq <= e.last) THEN s.outcome
    WHEN r.seq IS NOT NULL THEN 'unknown' ELSE 'open' END,
  i.input_bound, i.choices * i.max_output, COALESCE(s.input - s.cached, 0), COALESCE(s.output, 0)
FROM intents i LEFT JOIN seals s ON s.intent = i.id LEFT JOIN recoveries r ON r.intent = i.id
LEFT JOIN engine_starts e ON e.id = i.engine_start
WHERE (e.last IS NULL OR i.seq <= e.last)
  AND (s.seq IS NULL OR s.seq > e.last OR s.outcome <> 'completed') AND i.seq > ?
ORDER BY i.seq LIMIT 5000"""


@dataclass(frozen=True, slots=True)
class EngineStart:
    """One start of an engine; pairs are (input without cached, output) in tokens.

    ``agrees``; ``explained`` by requests that ended without a last report; ``running``: the counters were read while
    requests were in flight, which explain it; ``differs``; ``unverifiable``: it has no counters. ``unknown`` and
    ``aborted`` name its intents whose usage is not known, or was last reported before they ended.
    """

    id: str
    model: str
    state: State
    requests: int
    sealed: Pair
    counted: Pair | None
    unknown: tuple[str, ...]
    aborted: tuple[str, ...]


@dataclass(slots=True)
class _Slack:
    """What open-ended requests may have used beyond what is sealed: at their end, and while in flight."""

    unknown: list[str] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    ended: Pair = (0, 0)
    in_flight: Pair = (0, 0)


def engine_starts(transaction: Transaction) -> Iterator[EngineStart]:
    """Every start that an intent names, in the order of their names."""
    slack = _slack(transaction)
    for row in sorted(transaction.rows(_SUMS, READING, READING), key=lambda row: str(row[0])):
        name, model, requests, _, _, *counters = row[:7]
        *sealed, late_input, late_output = whole(row, 4)
        own = slack.get(name, _Slack())
        counted = None if counters[0] is None or counters[1] is None else (counters[0], counters[1])
        state = _state((sealed[0], sealed[1]), (late_input, late_output), counted, own)
        lists = (tuple(own.unknown), tuple(own.aborted))
        yield EngineStart(name, model, state, requests, (sealed[0], sealed[1]), counted, *lists)


def _state(sealed: Pair, late: Pair, counted: Pair | None, slack: _Slack) -> State:
    if counted is None:
        return "unverifiable"
    if counted == sealed:
        return "agrees"
    pairs = list(zip(counted, sealed, late, slack.ended, slack.in_flight, strict=True))
    if all(right <= found <= right + ended for found, right, _, ended, _ in pairs):
        return "explained"
    if all(right - before <= found <= right + ended + now for found, right, before, ended, now in pairs):
        return "running"
    return "differs"


def _slack(transaction: Transaction) -> dict[str, _Slack]:
    found: dict[str, _Slack] = {}
    last = 0
    while rows := transaction.rows(_OPEN_ENDED, last):
        for row in rows:
            _add(found.setdefault(row[1], _Slack()), row)
        last = rows[-1][0]
    return found


def _add(slack: _Slack, row: Row) -> None:
    _, _, intent, outcome, input_bound, output_bound, seen, made = row
    if outcome == "open":
        slack.in_flight = (slack.in_flight[0] + input_bound, slack.in_flight[1] + output_bound)
        return
    if outcome == "unknown":
        slack.unknown.append(intent)
        seen = made = 0
    else:
        slack.aborted.append(intent)
    more = (max(input_bound - seen, 0), max(output_bound - made, 0))
    slack.ended = (slack.ended[0] + more[0], slack.ended[1] + more[1])
