"""Revocation lists, signed imports, and what this machine remembers."""

from __future__ import annotations

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_world import NOW, decided, digest, draft, imported, key, keyid, manifest, revocations, trust
from weighbridge import canonical
from weighbridge.errors import InputError, SignerUnknown, StorageError, VerificationError
from weighbridge.statement import REVOCATION, Statement, Subject
from weighbridge.trust import (
    State,
    check_clock,
    check_latest,
    check_not_revoked,
    load_state,
    make_revocations,
    sign,
    update_state,
    verify_import,
    verify_revocations,
)
from weighbridge.trust.revocation import read_revocations

SEEN = {"key": keyid("a"), "checkpoint": digest("c"), "policy": "p", "serial": 1, "id": digest("d")}


class TestRevocationList:
    def test_is_read(self) -> None:
        found = verify_revocations(revocations(), trust(), at=NOW)
        assert (found.serial, found.decisions, found.keys) == (3, {digest("bad")}, {keyid("lost")})
        assert found.signers == (keyid("revoker"),)

    def test_may_be_empty(self) -> None:
        assert verify_revocations(revocations(decisions=[], keys=[]), trust(), at=NOW).decisions == frozenset()

    def test_serials_never_go_down(self) -> None:
        assert verify_revocations(revocations(), trust(), 3, at=NOW)
        with pytest.raises(VerificationError, match="lower than 4"):
            verify_revocations(revocations(), trust(), 4, at=NOW)

    def test_goes_stale(self) -> None:
        due = NOW + timedelta(days=30)
        assert verify_revocations(revocations(), trust(), at=due - timedelta(seconds=1))
        with pytest.raises(VerificationError, match="stale"):
            verify_revocations(revocations(), trust(), at=due)

    def test_from_the_future(self) -> None:
        assert verify_revocations(revocations(), trust(), at=NOW - timedelta(minutes=5))
        with pytest.raises(VerificationError, match="future"):
            verify_revocations(revocations(), trust(), at=NOW - timedelta(minutes=6))

    def test_needs_the_role(self) -> None:
        with pytest.raises(VerificationError, match="not as revoker"):
            verify_revocations(revocations("decider"), trust(), at=NOW)
        with pytest.raises(SignerUnknown):
            verify_revocations(revocations("stranger"), trust(), at=NOW)
        with pytest.raises(VerificationError, match="1 of the 2"):
            verify_revocations(revocations(), trust({"revoker": 2}, revoker=["revoker", "second"]), at=NOW)

    def test_cannot_revoke_who_revokes(self) -> None:
        with pytest.raises(VerificationError, match="trusts to revoke"):
            verify_revocations(revocations(keys=[keyid("revoker")]), trust(), at=NOW)
        both = trust(revoker=["revoker", "second"])
        with pytest.raises(VerificationError, match="trusts to revoke"):
            verify_revocations(revocations(keys=[keyid("second")]), both, at=NOW)

    @pytest.mark.parametrize(
        "changes",
        [
            {"serial": 0},
            {"serial": True},
            {"keys": [keyid("revoker")], "revokers": [keyid("revoker")]},
            {"next_update": NOW},
            {"issued": "now"},
            {"decisions": ["bad"]},
            {"keys": [digest("a digest is no fingerprint")]},
        ],
    )
    def test_that_does_not_fit_is_not_made(self, changes: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            revocations(**changes)

    @pytest.mark.parametrize(
        "changes",
        [
            {"version": 2},
            {"more": 1},
            {"serial": 0},
            {"serial": 1.5},
            {"decisions": [digest("b"), digest("a")] if digest("b") > digest("a") else [digest("a"), digest("b")]},
            {"decisions": [digest("a"), digest("a")]},
            {"decisions": "all"},
            {"keys": [None]},
            {"next_update": "never"},
        ],
    )
    def test_that_is_malformed_is_refused_though_signed(self, changes: dict[str, Any]) -> None:
        predicate: dict[str, Any] = {
            **make_revocations(serial=3, issued=NOW, next_update=NOW + timedelta(days=1)).predicate
        }
        predicate |= changes
        statement = Statement((Subject.of("revocation-list", canonical.digest(predicate)),), REVOCATION, predicate)
        with pytest.raises(VerificationError):
            verify_revocations(sign(statement.payload, [key("revoker")]), trust(), at=NOW)

    def test_about_another_subject_is_refused(self) -> None:
        predicate = make_revocations(serial=3, issued=NOW, next_update=NOW + timedelta(days=1)).predicate
        statement = Statement((Subject.of("revocation-list", digest("other")),), REVOCATION, predicate)
        with pytest.raises(VerificationError, match="subject"):
            verify_revocations(sign(statement.payload, [key("revoker")]), trust(), at=NOW)

    @given(
        serial=st.integers(1, 2**53 - 1),
        decisions=st.lists(st.integers(0, 9).map(lambda n: digest(str(n)))),
        keys=st.lists(st.sampled_from("abcd").map(keyid)),
        seconds=st.integers(1, 10**9),
    )
    def test_round_trip(self, serial: int, decisions: list[str], keys: list[str], seconds: int) -> None:
        statement = make_revocations(
            serial=serial, issued=NOW, next_update=NOW + timedelta(seconds=seconds), decisions=decisions, keys=keys
        )
        found = read_revocations(Statement.from_bytes(statement.payload, where="list"), where="list")
        assert (found.serial, found.decisions, found.keys) == (serial, set(decisions), set(keys))

    @given(st.binary(max_size=100))
    def test_any_bytes_are_a_typed_error(self, data: bytes) -> None:
        with pytest.raises(VerificationError):
            verify_revocations(data, trust(), at=NOW)


class TestWhatIsRevoked:
    def test_nothing_that_is_not_listed(self) -> None:
        found = verify_revocations(revocations(), trust(), at=NOW)
        check_not_revoked(decided(), found, [keyid("approver"), keyid("publisher")])

    def test_a_decision(self) -> None:
        found = verify_revocations(revocations(decisions=[decided().id]), trust(), at=NOW)
        with pytest.raises(VerificationError, match="revoked by list 3"):
            check_not_revoked(decided(), found)

    def test_a_key_that_decided(self) -> None:
        found = verify_revocations(revocations(keys=[keyid("decider")]), trust(), at=NOW)
        with pytest.raises(VerificationError, match=keyid("decider")[:16]):
            check_not_revoked(decided(), found)
        with pytest.raises(VerificationError):
            check_not_revoked(decided("decider", "second"), found)

    def test_any_other_key_that_signed(self) -> None:
        found = verify_revocations(revocations(keys=[keyid("approver")]), trust(), at=NOW)
        check_not_revoked(decided(), found)
        with pytest.raises(VerificationError):
            check_not_revoked(decided(), found, [keyid("publisher"), keyid("approver")])


class TestImport:
    def verify(self, data: bytes, **changes: Any) -> Any:
        wanted = {"checkpoint": manifest().digest, "record": digest("record 1"), "log": digest("log"), "at": NOW}
        return verify_import(data, trust(), **{**wanted, **changes})

    def test_is_read(self) -> None:
        found = self.verify(imported())
        assert (found.imported_by, found.imported_at, found.signers) == ("A. Tester", NOW, (keyid("decider"),))
        assert self.verify(imported(), log=None) == found

    @pytest.mark.parametrize("name", ["checkpoint", "record", "log"])
    def test_of_something_else(self, name: str) -> None:
        with pytest.raises(VerificationError, match="another"):
            self.verify(imported(), **{name: digest("something else")})

    def test_from_the_future(self) -> None:
        with pytest.raises(VerificationError, match="future"):
            self.verify(imported(), at=NOW - timedelta(minutes=6))

    def test_needs_the_role(self) -> None:
        with pytest.raises(VerificationError, match="not as decider"):
            self.verify(imported("approver"))

    @pytest.mark.parametrize(
        "changes",
        [
            {"imported_by": ""},
            {"imported_by": " A. Tester"},
            {"imported_by": "A\nB"},
            {"imported_by": "x" * 201},
            {"log": "log"},
            {"record": ""},
            {"imported_at": "yesterday"},
        ],
    )
    def test_that_does_not_fit_is_not_made(self, changes: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            imported(**changes)


class TestState:
    def test_a_missing_file_is_an_empty_state(self, tmp_path: Path) -> None:
        assert load_state(tmp_path / "state.json") == State()
        assert State().last_serial(["a"]) == 0

    def test_remembers(self, tmp_path: Path) -> None:
        path = tmp_path / "weighbridge" / "state.json"
        update_state(path, now=NOW, revokers=[keyid("a"), keyid("b")], serial=4)
        found = load_state(path)
        assert found.last_seen == NOW
        assert found.last_serial([keyid("b"), keyid("c")]) == 4
        assert found.last_serial([keyid("c")]) == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_never_goes_down(self, tmp_path: Path) -> None:
        path = tmp_path / "state.json"
        update_state(path, now=NOW, revokers=[keyid("a")], serial=4)
        found = update_state(path, now=NOW - timedelta(days=9), revokers=[keyid("a")], serial=2)
        assert found == load_state(path) == State(NOW, {keyid("a"): 4})

    def test_an_update_without_a_list_keeps_serials(self, tmp_path: Path) -> None:
        path = tmp_path / "state.json"
        update_state(path, now=NOW, revokers=[keyid("a")], serial=4)
        assert update_state(path, now=NOW + timedelta(days=1)) == State(NOW + timedelta(days=1), {keyid("a"): 4})

    def test_survives_replacing_one_of_two_revokers(self, tmp_path: Path) -> None:
        path = tmp_path / "state.json"
        update_state(path, now=NOW, revokers=trust(revoker=["old", "kept"]).keyids("revoker"), serial=7)
        assert load_state(path).last_serial(trust(revoker=["kept", "new"]).keyids("revoker")) == 7

    def test_several_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "state.json"
        with ThreadPoolExecutor(8) as pool:
            for serial in range(1, 41):
                pool.submit(update_state, path, now=NOW, revokers=[keyid(str(serial % 5))], serial=serial)
        assert load_state(path).serials == {keyid(str(number % 5)): number for number in range(36, 41)}

    def test_a_file_from_before_decisions_were_remembered_is_read_and_continued(self, tmp_path: Path) -> None:
        path = tmp_path / "state.json"
        path.write_bytes(b'{"last_seen":null,"serials":{"%s":4},"version":1}' % keyid("a").encode())
        assert load_state(path) == State(None, {keyid("a"): 4})
        assert update_state(path, now=NOW) == load_state(path) == State(NOW, {keyid("a"): 4})

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"{}",
            b'{"decisions":[],"last_seen":null,"serials":{},"version":2}',
            b'{"decisions":[],"last_seen":null,"serials":{"x":1},"version":1}',
            b'{"decisions":[],"last_seen":null,"serials":{"%s":0},"version":1}' % keyid("a").encode(),
            b'{"decisions":[],"last_seen":"today","serials":{},"version":1}',
            b'{"decisions":[],"last_seen":null,"last_seen":null,"serials":{},"version":1}',
            b'{"decisions":[{}],"last_seen":null,"serials":{},"version":1}',
            *(
                canonical.dumps({"decisions": decisions, "last_seen": None, "serials": {}, "version": 1})
                for decisions in (
                    [SEEN | {"serial": 0}],
                    [SEEN | {"key": "x"}],
                    [SEEN | {"id": "x"}],
                    [SEEN | {"checkpoint": "x"}],
                    [SEEN, SEEN],
                    [SEEN, SEEN | {"serial": 5}],
                )
            ),
            b"[" * 100_000,
        ],
    )
    def test_a_damaged_file_is_refused_and_kept(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "state.json"
        path.write_bytes(data)
        with pytest.raises(InputError, match="damaged") as caught:
            load_state(path)
        assert "delete it" in (caught.value.remedy or "")
        with pytest.raises(InputError, match="damaged"):
            update_state(path, now=NOW)
        assert path.read_bytes() == data

    def test_a_full_disk_keeps_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "state.json"
        update_state(path, now=NOW)
        before = path.read_bytes()

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError):
            update_state(path, now=NOW + timedelta(days=1))
        assert path.read_bytes() == before

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for path, use in ((tmp_path / "file" / "state.json", partial(update_state, now=NOW)),
                          (tmp_path / ("x" * 300), load_state)):  # fmt: skip
            with pytest.raises(StorageError) as caught:
                use(path)
            assert "XDG_STATE_HOME" in (caught.value.remedy or "")

    def test_remembers_the_latest_decision_of_each_key(self, tmp_path: Path) -> None:
        path = tmp_path / "state.json"
        first, second = decided(serial=1), decided(serial=2, supersedes=decided(serial=1).id)
        both = decided("decider", "second", serial=2, supersedes=digest("another"))
        for one in (second, first, both):
            update_state(path, now=NOW, decision=one)
        state = load_state(path)
        asked = {"checkpoint": first.checkpoint, "policy": first.policy.name}
        assert state.latest([keyid("decider")], **asked) == (2, second.id), "the first of two with one serial stays"
        assert state.latest([keyid("second")], **asked) == (2, both.id)
        assert state.latest([keyid("stranger")], **asked) == (0, None)
        assert state.latest([keyid("decider")], **asked | {"policy": "other"}) == (0, None)
        assert state.latest([keyid("decider")], **asked | {"checkpoint": digest("other")}) == (0, None)
        check_latest(second, state, [keyid("decider")])
        check_latest(first, state, [keyid("stranger")])
        for old in (first, decided(serial=2, supersedes=digest("fork"))):
            with pytest.raises(VerificationError, match="seen on this machine"):
                check_latest(old, state, [keyid("decider")])

    def test_a_draft_is_not_remembered(self, tmp_path: Path) -> None:
        assert update_state(tmp_path / "state.json", now=NOW, decision=draft()).decisions == ()


class TestClock:
    def test_may_stand_still_or_be_mended_a_little(self) -> None:
        check_clock(NOW, None)
        check_clock(NOW, NOW)
        check_clock(NOW, NOW - timedelta(days=100))
        check_clock(NOW - timedelta(minutes=5), NOW)

    def test_does_not_go_backwards(self) -> None:
        with pytest.raises(VerificationError, match="backwards"):
            check_clock(NOW - timedelta(minutes=5, seconds=1), NOW)
        with pytest.raises(VerificationError, match="backwards"):
            check_clock(datetime(1970, 1, 1, tzinfo=UTC), NOW)
