"""Admission, seals, recovery, corrections: each rule of the ledger, in both databases."""

from __future__ import annotations

import msgspec
import pytest
from ledger_world import DECEMBER, SECRET, SMALL, Bench, book

from weighbridge.errors import InputError
from weighbridge.gateway.ledger import accounts, upkeep
from weighbridge.gateway.ledger.database import Conflict
from weighbridge.gateway.ledger.operations import SKEW, Void
from weighbridge.gateway.ledger.schema import APPEND_ONLY
from weighbridge.gateway.rules.terms import Admitted, Outcome, Presented, Refused, Replay, Retained, Seal, Sealed, Usage

HOLD = 200_000  # of Bench.ask


def code(result: object) -> str:
    assert isinstance(result, Refused), result
    return result.code


def test_an_admission_holds_and_a_seal_bills(bench: Bench) -> None:
    key = bench.key(budget=1_000_000)
    admitted = bench.admitted(key)
    assert (admitted.project, admitted.hold, admitted.max_output) == ("acme", HOLD, 50)
    assert bench.counters("key", key.key_id) == (0, 0, HOLD, 1)
    assert bench.counters("project", "acme") == (0, 0, HOLD, 1)
    sealed = bench.seal(admitted.intent, Usage(80, 20, cached=40))
    assert sealed == Sealed(admitted.intent, 40 * 1000 + 40 * 500 + 20 * 2000, 0)
    assert bench.counters("key", key.key_id) == bench.counters("project", "acme") == (100_000, 0, 0, 0)
    assert bench.count("holds") == 0


def test_the_intent_carries_what_it_was_decided_on(bench: Bench) -> None:
    key = bench.key()
    admitted = bench.admitted(key, max_output=None, choices=3)
    row = bench.database.fetch(
        "SELECT key_id, project, month, at, route, model, model_digest, decision, flags_digest, binding, engine_start, "
        "price, currency, hold, input_bound, choices, max_output, instance FROM intents",
        (),
    )[0]
    version = bench.terms.prices.lists[0].version
    assert row == (
        *(key.key_id, "acme", "2026-11", bench.now, "/v1/chat/completions", "small", "sha256:model"),
        *("sha256:decision", "sha256:flags", "verified", "start-1", version, "USD"),
        *(100 * 1000 + 3 * 4096 * 2000, 100, 3, 4096, "gateway/1"),
    )
    assert admitted.max_output == 4096


def test_nobody_with_a_wrong_revoked_or_expired_key_is_admitted(bench: Bench) -> None:
    key = bench.key()
    assert code(bench.admit(Presented("nobodyhere12", key.digest))) == "invalid_api_key"
    assert code(bench.admit(Presented(key.key_id, bytes(32)))) == "invalid_api_key"
    late = bench.key(expires=bench.now + 1)
    bench.seal(bench.admitted(late).intent, Usage(1, 1))
    bench.now += 1
    refused = bench.admit(late)
    assert (refused.status, refused.should_retry, "expired" in refused.message) == (401, False, True)
    bench.admitted(key)
    bench.database.transact(lambda one: accounts.revoke(one, key.key_id))
    refused = bench.admit(key)
    assert (refused.status, "revoked" in refused.message) == (401, True)
    assert bench.count("intents") == 2


def test_a_key_opens_only_its_models(bench: Bench) -> None:
    key = bench.key(models=("free",))
    assert code(bench.admit(key)) == "model_not_found"
    bench.admitted(key, served=msgspec.structs.replace(SMALL, name="free"))


def test_a_budget_is_never_passed_and_the_refusal_names_what_fits(bench: Bench) -> None:
    key = bench.key(budget=3 * HOLD - 1)
    bench.admitted(key)
    bench.admitted(key)
    refused = bench.admit(key)
    assert (refused.status, refused.code, refused.type) == (429, "insufficient_quota", "insufficient_quota")
    assert refused.should_retry is False
    assert "max_tokens of at most 49 would fit" in refused.message
    assert refused.param == "max_tokens"
    assert bench.admitted(key, max_output=49).hold == 198_000
    refused = bench.admit(key)
    assert "no limit on max_tokens" in refused.message


def test_the_decisions_of_one_commit_see_each_other(bench: Bench) -> None:
    key = bench.key(budget=2 * HOLD, concurrency=5)
    results = bench.apply(*(bench.ask(key) for _ in range(5)))
    assert [isinstance(one, Admitted) for one in results] == [True, True, False, False, False]
    assert bench.counters("key", key.key_id) == (0, 0, 2 * HOLD, 2)


def test_a_project_s_budget_binds_all_its_keys(bench: Bench) -> None:
    one, two = bench.key(), bench.key()
    bench.database.transact(lambda tx: accounts.set_project_budget(tx, "acme", 2 * HOLD, "lifetime"))
    bench.admitted(one)
    bench.admitted(two)
    assert "budget of this project" in bench.admit(one).message
    assert bench.admitted(bench.key(project="other"))


@pytest.mark.parametrize(("period", "admitted"), [("month", True), ("lifetime", False)])
def test_a_budget_of_a_month_begins_anew(bench: Bench, period: str, admitted: bool) -> None:
    key = bench.key(budget=HOLD, period=period)
    bench.now = DECEMBER - 1
    first = bench.admitted(key)
    assert code(bench.admit(key)) == "insufficient_quota"
    bench.now = DECEMBER
    bench.seal(first.intent, Usage(100, 50))
    assert isinstance(bench.admit(key), Admitted) is admitted
    assert bench.counters("key", key.key_id, "2026-11")[0] == HOLD  # its intent's month, not its seal's


def test_price_and_month_follow_the_intent_s_time(bench: Bench) -> None:
    bench.terms.prices = book(
        "{currency: USD, valid_from: 2026-01-01T00:00:00Z, models: {small: {input: 1, output: 2}}}",
        "{currency: USD, valid_from: 2026-12-01T00:00:00Z, models: {small: {input: 10, output: 20}}}",
    )
    bench.database.transact(lambda one: upkeep.remember_prices(one, bench.terms.prices))
    key = bench.key()
    bench.now = DECEMBER - 1
    old = bench.admitted(key)
    bench.now = DECEMBER
    new = bench.admitted(key)
    assert (old.hold, new.hold) == (HOLD, 10 * HOLD)
    bench.terms.known.clear()
    bench.terms.prices = book()  # even after the lists were taken away
    assert bench.seal(old.intent, Usage(10, 10)).cost == 30_000
    assert bench.seal(new.intent, Usage(10, 10)).cost == 300_000


def test_nothing_is_served_unpriced(bench: Bench) -> None:
    key = bench.key()
    assert code(bench.admit(key, served=msgspec.structs.replace(SMALL, name="unheard"))) == "no_price"
    assert code(bench.admit(key, at=0)) == "no_price"
    assert bench.count("intents") == 0


def test_rates_refill_continuously(bench: Bench) -> None:
    key = bench.key(rpm=2, tpm=100)
    first = bench.admitted(key)
    assert first.requests is not None
    assert (first.requests.limit, first.requests.remaining, first.requests.reset) == (2, 1, 30_000)
    bench.admitted(key)
    refused = bench.admit(key)
    assert (refused.status, refused.type, refused.retry_after) == (429, "requests", 30_000)
    bench.now += 29_999
    assert bench.admit(key).retry_after == 1
    bench.now += 1
    bench.admitted(key)
    bench.seal(first.intent, Usage(100, 50))  # 150 tokens of 100 a minute: in debt
    bench.now += 30_000
    refused = bench.admit(key)  # debt of 50, then 50 refilled: at nothing
    assert (refused.type, refused.code) == ("tokens", "rate_limit_exceeded")
    bench.now += refused.retry_after
    assert isinstance(bench.admit(key), Admitted)


def test_concurrency_counts_what_is_in_flight(bench: Bench) -> None:
    key = bench.key(concurrency=1)
    first = bench.admitted(key)
    assert bench.admit(key).retry_after == 1000
    bench.seal(first.intent, None, Outcome.UPSTREAM_ERROR)
    bench.admitted(key)


def test_more_output_than_the_key_may_have_is_a_bad_request(bench: Bench) -> None:
    key = bench.key(max_output=10)
    refused = bench.admit(key, max_output=11)
    assert (refused.status, refused.param) == (400, "max_tokens")
    assert bench.admitted(key, max_output=None).max_output == 10
    assert bench.admitted(key, max_output=None, served=msgspec.structs.replace(SMALL, context=7)).max_output == 7


@pytest.mark.parametrize(
    ("outcome", "usage", "written", "cost"),
    [
        (Outcome.UPSTREAM_ERROR, None, "upstream_error", 0),
        (Outcome.UPSTREAM_ERROR, Usage(10, 0), "upstream_error", 10_000),
        (Outcome.CLIENT_GONE, Usage(10, 5), "client_gone", 20_000),
        (Outcome.INTERRUPTED, Usage(10, 5), "interrupted", 20_000),
        (Outcome.INTERRUPTED, None, "interrupted", 0),  # before it was dispatched
        (Outcome.CLIENT_GONE, None, "unknown", 0),
        (Outcome.COMPLETED, None, "unknown", 0),
        (Outcome.UNKNOWN, Usage(10, 5), "unknown", 0),
        (Outcome.COMPLETED, Usage(10, 5, cached=11), "unknown", 0),  # no credible report
        (Outcome.COMPLETED, Usage(-1, 5), "unknown", 0),
        (Outcome.COMPLETED, Usage(1 << 62, 1 << 62), "unknown", 0),
        (Outcome.UPSTREAM_ERROR, Usage(-1, 5), "unknown", 0),
    ],
)
def test_what_each_outcome_costs(bench: Bench, outcome: Outcome, usage: Usage | None, written: str, cost: int) -> None:
    key = bench.key(budget=HOLD)
    admitted = bench.admitted(key)
    assert bench.seal(admitted.intent, usage, outcome).cost == cost
    assert bench.outcome(admitted.intent) == written
    unknown = HOLD if written == "unknown" else 0
    assert bench.counters("key", key.key_id) == (cost, unknown, 0, 0)
    if unknown:  # its full hold counts until it is corrected
        assert code(bench.admit(key)) == "insufficient_quota"
        assert bench.correct(admitted.intent, Usage(10, 5)) == 20_000
        assert bench.counters("key", key.key_id) == bench.counters("project", "acme") == (20_000, 0, 0, 0)
        assert bench.outcome(admitted.intent) == "corrected"


def test_a_report_above_its_hold_is_billed_in_full(bench: Bench) -> None:
    key = bench.key(budget=HOLD)
    sealed = bench.seal(bench.admitted(key).intent, Usage(200, 100))
    assert (sealed.cost, sealed.overshoot) == (400_000, 200_000)
    assert bench.counters("key", key.key_id)[0] == 400_000
    assert code(bench.admit(key, max_output=1)) == "insufficient_quota"


def test_one_seal_for_an_intent(bench: Bench) -> None:
    admitted = bench.admitted(bench.key())
    first = bench.seal(admitted.intent, Usage(1, 2))
    assert bench.seal(admitted.intent, Usage(1, 2)) == first  # the same again is no news
    with pytest.raises(InputError, match="another outcome"):
        bench.seal(admitted.intent, Usage(1, 3))
    with pytest.raises(InputError, match="no such intent"):
        bench.seal("req_nobody", Usage(1, 3))
    with pytest.raises(Conflict):
        bench.database.transact(lambda one: one.insert("seals", [(99, admitted.intent, 1, "completed", 1, 0, 1, 1, 0)]))
    assert bench.count("seals") == 1


def test_two_seals_of_one_intent_in_one_group_fail_as_a_whole(bench: Bench) -> None:
    intent = bench.admitted(bench.key()).intent
    twice = [Seal(intent, Outcome.COMPLETED, Usage(1, 1), bench.now)] * 2
    with pytest.raises(InputError, match="twice"):
        bench.apply(*twice)
    assert bench.count("seals") == 0
    assert bench.count("holds") == 1


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_rows_are_never_changed(bench: Bench, table: str) -> None:
    key = bench.key()
    sealed, lost = bench.admitted(key), bench.admitted(key)
    bench.seal(sealed.intent, Usage(1, 1))
    bench.lapse()
    bench.recover()
    bench.correct(lost.intent, Usage(1, 1))
    bench.database.transact(lambda one: one.insert("invoices", [("1", "acme", "2026-11", "USD", 1, 1, 0, 0, 0, "{}")]))
    line = ("1", 1, "2026-11", key.key_id, "small", "verified", "p", "usage", 1, 1, 0, 1, 3000)
    bench.database.transact(lambda one: one.insert("invoice_rows", [line]))
    names = {"prices": "body", "invoices": "body", "invoice_rows": "model", "intents": "model", "corrections": "reason"}
    column = names.get(table, "intent")
    words = [f"DELETE FROM {table}", f"UPDATE {table} SET {column} = 'x'"]
    if bench.database.dialect == "postgresql":
        words.append(f"TRUNCATE {table} CASCADE")
    else:  # replacing is deleting by another name
        words.append(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")
    before = bench.database.fetch(f"SELECT * FROM {table}", ())
    assert before
    for word in words:
        with pytest.raises(Conflict, match="never changed"):
            bench.database.transact(lambda one, word=word: one.run(word))
    assert bench.database.fetch(f"SELECT * FROM {table}", ()) == before


def test_only_what_lapsed_is_recovered_and_a_late_seal_supersedes_it(bench: Bench) -> None:
    key = bench.key(budget=10 * HOLD)
    lost = bench.admitted(key)
    bench.enter("gateway/2")
    bench.terms.instance = "gateway/2"
    living = bench.admitted(key)
    assert bench.recover("gateway/3") == 0
    bench.lapse("gateway/1")
    assert bench.recover("gateway/3") == 1
    assert (bench.outcome(lost.intent), bench.outcome(living.intent)) == ("unknown", "open")
    assert bench.counters("key", key.key_id) == (0, HOLD, HOLD, 1)
    assert bench.recover("gateway/3") == 0
    late = bench.seal(lost.intent, Usage(10, 10))
    assert late.cost == 30_000
    assert bench.seal(lost.intent, Usage(10, 10)) == late
    assert bench.counters("key", key.key_id) == (30_000, 0, HOLD, 1)
    assert bench.count("recoveries") == 1


def test_a_gateway_does_not_recover_its_own(bench: Bench) -> None:
    bench.admitted(bench.key())
    bench.lapse()
    assert bench.recover("gateway/1") == 0


def test_a_late_seal_without_usage_leaves_it_unknown(bench: Bench) -> None:
    key = bench.key()
    lost = bench.admitted(key)
    bench.lapse()
    bench.recover()
    bench.seal(lost.intent, None, Outcome.UNKNOWN)
    assert bench.counters("key", key.key_id) == (0, HOLD, 0, 0)


def test_a_correction_is_the_last_word(bench: Bench) -> None:
    key = bench.key()
    lost = bench.admitted(key)
    with pytest.raises(InputError, match="in flight"):
        bench.correct(lost.intent, Usage(1, 1))
    bench.lapse()
    bench.recover()
    assert bench.correct(lost.intent, Usage(10, 10)) == 30_000
    bench.seal(lost.intent, Usage(50, 50))  # came too late: recorded, but a person has decided
    assert bench.counters("key", key.key_id) == (30_000, 0, 0, 0)
    assert bench.correct(lost.intent, Usage(0, 0)) == -30_000
    assert bench.counters("key", key.key_id) == (0, 0, 0, 0)
    assert bench.database.fetch("SELECT n, change FROM corrections ORDER BY n", ()) == [(1, 30_000), (2, -30_000)]
    with pytest.raises(InputError, match="no such intent"):
        bench.correct("req_nobody", Usage(1, 1))
    with pytest.raises(InputError, match="cached"):
        bench.correct(lost.intent, Usage(1, 1, cached=2))


def test_events_are_numbered_in_the_order_of_their_commits(bench: Bench) -> None:
    key = bench.key()
    one, two = bench.admitted(key), bench.admitted(key)
    bench.seal(two.intent, Usage(1, 1))
    bench.seal(one.intent, Usage(1, 1))
    assert bench.database.fetch("SELECT seq, id FROM intents ORDER BY seq", ()) == [(1, one.intent), (2, two.intent)]
    assert bench.database.fetch("SELECT seq, intent FROM seals ORDER BY seq", ()) == [(3, two.intent), (4, one.intent)]


def test_a_clock_far_behind_admits_nothing_but_seals(bench: Bench) -> None:
    key = bench.key()
    admitted = bench.admitted(key)
    bench.now -= SKEW
    other = bench.admitted(key)
    bench.now -= 1
    refused = bench.admit(key)
    assert (refused.status, refused.code) == (503, "clock_behind")
    bench.seal(admitted.intent, Usage(1, 1))
    bench.seal(other.intent, Usage(1, 1))


def test_a_void_admission_costs_nothing_and_frees_its_idempotency_key(bench: Bench) -> None:
    key = bench.key()
    admitted = bench.admitted(key, header="once")
    bench.apply(Void(admitted.intent, bench.now), Void("req_nobody", bench.now))
    assert bench.outcome(admitted.intent) == "upstream_error"
    assert bench.counters("key", key.key_id) == (0, 0, 0, 0)
    assert isinstance(bench.admit(key, header="once"), Admitted)


# Idempotency


def test_the_same_request_again_is_answered_from_its_copy(bench: Bench) -> None:
    key, other = bench.key(concurrency=1), bench.key()
    first = bench.admitted(key, header="once")
    refused = bench.admit(key, header="once")
    assert (refused.status, refused.code, refused.retry_after) == (409, "request_in_flight", 1000)
    assert bench.admit(key, header="once", body=b"b" * 32).status == 422
    answer = Retained(200, "text/event-stream", b"data: {}\n\ndata: [DONE]\n\n")
    bench.seal(first.intent, Usage(1, 1), retained=answer)
    assert bench.admit(key, header="once") == Replay(first.intent, 200, "text/event-stream", answer.body)
    assert bench.admit(key, header="once", body=b"b" * 32).status == 422
    assert isinstance(bench.admit(other, header="once"), Admitted)  # the scope is key, route, header
    assert isinstance(bench.admit(key, header="once", route="/v1/completions"), Admitted)
    assert bench.count("intents") == 3
    assert answer.body not in b"".join(row[0] for row in bench.database.fetch("SELECT sealed FROM copies", ()))


def test_two_of_one_group_with_one_idempotency_key(bench: Bench) -> None:
    key = bench.key()
    one, two = bench.apply(bench.ask(key, header="once"), bench.ask(key, header="once"))
    assert isinstance(one, Admitted)
    assert code(two) == "request_in_flight"


def test_what_is_no_longer_kept_is_not_dispatched_again(bench: Bench) -> None:
    key = bench.key()
    old, large, unknown = (bench.admitted(key, header=name) for name in ("old", "large", "unknown"))
    bench.seal(old.intent, Usage(1, 1), retained=Retained(200, "application/json", b"{}"))
    bench.seal(large.intent, Usage(1, 1), retained=Retained(200, "application/json", b" " * 1_000_001))
    bench.seal(unknown.intent, None, Outcome.UNKNOWN, retained=Retained(200, "application/json", b"{}"))
    assert code(bench.admit(key, header="large")) == "response_not_retained"
    assert code(bench.admit(key, header="unknown")) == "outcome_unknown"
    bench.now += 24 * 3600 * 1000 - 1
    assert isinstance(bench.admit(key, header="old"), Replay)
    bench.now += 1
    assert code(bench.admit(key, header="old")) == "response_not_retained"
    if bench.database.dialect == "sqlite":  # where the ledger's clock is the test's
        bench.database.transact(upkeep.forget_copies)
        assert bench.count("copies") == 0
        assert code(bench.admit(key, header="old")) == "response_not_retained"


def test_a_copy_that_was_tampered_with_is_no_answer(bench: Bench) -> None:
    key = bench.key()
    one, two = bench.admitted(key, header="one"), bench.admitted(key, header="two")
    for intent in (one.intent, two.intent):
        bench.seal(intent, Usage(1, 1), retained=Retained(200, "application/json", b"{}"))
    nonce, sealed = bench.database.fetch("SELECT nonce, sealed FROM copies WHERE intent = ?", (one.intent,))[0]
    swap = "UPDATE copies SET nonce = ?, sealed = ? WHERE intent = ?"
    bench.database.transact(lambda tx: tx.run(swap, nonce, sealed, two.intent))
    assert code(bench.admit(key, header="two")) == "response_not_retained"
    assert isinstance(bench.admit(key, header="one"), Replay)


# Keys


def test_keys_are_kept_as_keyed_hashes_and_rotate(bench: Bench) -> None:
    key = bench.key(rpm=7, models=("small",), label="for tests")
    facts = bench.database.transact(lambda one: accounts.get_key(one, key.key_id))
    assert (facts.limits.rpm, facts.models, facts.label) == (7, ("small",), "for tests")
    text, successor = bench.database.transact(lambda one: accounts.rotate(one, SECRET, key.key_id, overlap=3_600_000))
    assert (successor.limits, successor.models, successor.project) == (facts.limits, facts.models, "acme")
    fresh = SECRET.present(text)
    assert fresh is not None
    bench.now = bench.database.transact(lambda one: one.now)
    long = "{currency: USD, valid_from: 2020-01-01T00:00:00Z, models: {small: {input: 1, output: 2}}}"
    bench.terms.prices = book(long)
    bench.database.transact(lambda one: upkeep.remember_prices(one, bench.terms.prices))
    bench.admitted(key)
    bench.admitted(fresh)
    bench.now += 3_600_000 + 60_000
    assert bench.admit(key).status == 401
    bench.admitted(fresh)
    with pytest.raises(InputError, match="rotated already"):
        bench.database.transact(lambda one: accounts.rotate(one, SECRET, key.key_id, overlap=0))
    ids = [key.key_id, fresh.key_id, "nobody"]
    assert bench.database.transact(lambda one: accounts.ended(one, ids, bench.now)) == {key.key_id}
    everything = bench.database.fetch("SELECT * FROM keys", ())
    assert text.rsplit("_", 1)[1] not in repr(everything)


def test_bad_keys_and_projects_are_refused(bench: Bench) -> None:
    for wish in ({"rpm": 0}, {"budget": -1}, {"period": "week"}, {"models": ()}, {"label": "a\nb"}):
        with pytest.raises(InputError):
            bench.key(**wish)
    for name in ("", "a b", "../x", "x" * 65, "a\0"):
        with pytest.raises(InputError):
            bench.key(project=name)
    for strange in ("a\0", "\ud800"):
        with pytest.raises(InputError):
            bench.database.transact(lambda one, strange=strange: accounts.revoke(one, strange))
    with pytest.raises(InputError):
        bench.database.transact(lambda one: accounts.create_project(one, "rich", budget=1 << 64))
    with pytest.raises(InputError, match="no key"):
        bench.database.transact(lambda one: accounts.revoke(one, "nobody"))
    assert bench.count("keys") == bench.count("projects") == 0
