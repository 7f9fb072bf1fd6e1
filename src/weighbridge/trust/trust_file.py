"""The trust file: whose signature counts, and for what. The verifier's own; never taken from a bundle.

    version: 1
    roles:
      decider:
        threshold: 1
        keys:
          - {path: keys/decider.pub}
      approver:
        keys:
          - pem: |
              -----BEGIN PUBLIC KEY-----
              ...

Roles: ``decider`` (decisions, signed imports), ``approver``, ``publisher`` (the OpenSSF model signature of a bundle),
``revoker``. A key may hold several roles; a key listed twice in one role counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from weighbridge import strict_yaml
from weighbridge.errors import InputError, SignerUnknown, VerificationError
from weighbridge.files import read
from weighbridge.statement import Statement, check_keyid, check_version
from weighbridge.trust import dsse
from weighbridge.trust.keys import PublicKey, load_public

VERSION = 1
MAX_BYTES = 1024 * 1024
MAX_KEYS = 256

Role = Literal["decider", "approver", "publisher", "revoker"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class RoleKeys:
    """The distinct keys of a role, and how many of them must sign."""

    keys: tuple[PublicKey, ...]
    threshold: int = 1


@dataclass(frozen=True)
class Trust:
    """Roles with their keys. ``where`` names the file for messages."""

    roles: Mapping[Role, RoleKeys] = field(default_factory=dict)
    where: str = "trust"

    @classmethod
    def from_public_key(cls, public: PublicKey, roles: Iterable[Role]) -> Trust:
        """Trust in one key, for these roles."""
        return cls({role: RoleKeys((public,)) for role in roles})

    @classmethod
    def nobody(cls) -> Trust:
        """Trust in no key: what a verifier without a trust file has. Every ``verify`` raises ``SignerUnknown``."""
        return cls(where="no trust file")

    def keys(self, role: Role) -> tuple[PublicKey, ...]:
        """The distinct keys of a role; none if the file does not name it."""
        return self.roles[role].keys if role in self.roles else ()

    def keyids(self, role: Role) -> frozenset[str]:
        """The fingerprints of a role's keys."""
        return frozenset(key.keyid for key in self.keys(role))

    def threshold(self, role: Role) -> int:
        """How many distinct keys of the role must sign; 0 if the file does not name it."""
        return self.roles[role].threshold if role in self.roles else 0

    def verify(
        self, data: bytes, role: Role, predicate_type: str, *, where: str = "envelope", threshold: int | None = None
    ) -> Statement:
        """The statement in the envelope file ``data``, if enough keys of ``role`` signed it.

        Every signature in the file must hold and be of a key of the role: what cannot be checked could be
        changed unseen. ``threshold`` replaces the role's own. Raises ``VerificationError`` for a file that is
        malformed or not canonical, a signature that does not hold, a key of another role, too few keys, another
        predicate type; ``SignerUnknown`` if the file is well-formed but a key that signed is not in the trust file.
        """
        # 1. The one way to write an envelope.
        envelope = dsse.parse(data, where=where)
        # 2. Each signature under the trusted key that its keyid names.
        trusted = {key.keyid: key for key in self.keys(role)}
        unknown: list[dsse.Signature] = []
        for signature in envelope.signatures:
            if signature.keyid not in trusted:
                unknown.append(signature)
                continue
            try:
                trusted[signature.keyid].verify(signature.sig, envelope.signed_bytes)
            except VerificationError as cause:
                raise VerificationError(cause.message, where=where) from cause
        # 3. Nobody else signed.
        for signature in unknown:
            self._refuse(signature, envelope, role, where)
        # 4. Enough did.
        needed = self.threshold(role) if threshold is None else threshold
        if len(envelope.signatures) < needed:
            raise VerificationError(
                f"{len(envelope.signatures)} of the {needed} signatures that {self.where} asks of the role {role}",
                where=where,
                remedy="have it signed by more keys of that role",
            )
        # 5. What was signed is one of our statements, of the type that is expected here.
        statement = Statement.from_bytes(envelope.payload, where=f"{where} (payload)")
        if statement.predicate_type != predicate_type:
            raise VerificationError(f"states {statement.predicate_type}, where {predicate_type} belongs", where=where)
        signers = tuple(one.keyid for one in envelope.signatures)
        return Statement(statement.subjects, statement.predicate_type, statement.predicate, signers)

    def _refuse(self, signature: dsse.Signature, envelope: dsse.Envelope, role: Role, where: str) -> None:
        """Raise what fits a signature whose keyid is no key of the role."""
        for other in ROLES:
            for key in self.keys(other):
                if key.keyid == signature.keyid:
                    raise VerificationError(
                        f"signed by the key {key.keyid[:16]}, which is trusted as {other} and not as {role}",
                        where=where,
                        remedy=f"a key acts as {role} only if {self.where} says so",
                    )
                if _holds(key, signature, envelope):
                    raise VerificationError(
                        f"signed by the key {key.keyid[:16]} under the name of another, {signature.keyid[:16]}",
                        where=where,
                    )
        given = f"which {self.where} does not know as {role}" if self.roles else "and there is no trust file to know it"
        raise SignerUnknown(
            f"signed by the key {signature.keyid[:16]}, {given}",
            where=where,
            remedy="get the signer's public key on a way that you trust, and put it into a trust file",
        )


def load_trust(path: Path, *, bundle: Path | None = None) -> Trust:
    """Read a trust file (YAML, or JSON, its subset) and the key files that it names.

    ``bundle`` is what is to be verified: a trust file or key inside it is refused. Raises ``InputError`` naming
    the field: unknown versions, roles and fields, keys that stand twice in a mapping, keys that are no P-256 keys.
    """
    _check_outside(path, bundle)
    value = strict_yaml.load(read(path, limit=MAX_BYTES), where=str(path))
    return _Reader(path, bundle).trust(value)


class _Reader:
    """Reads one trust file; every error carries the place in the file."""

    def __init__(self, path: Path, bundle: Path | None) -> None:
        self.path = path
        self.bundle = bundle

    def fail(self, path: str, message: str) -> InputError:
        return InputError(message, where=f"{self.path} at {path}", remedy="see docs/trust.md")

    def fields(self, value: Any, path: str, known: set[str], required: set[str]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fail(path, f"expected a mapping, found {type(value).__name__}")
        if unknown := sorted(str(key) for key in value if key not in known):
            raise self.fail(path, f"unknown field {unknown[0]!r:.80}")
        if missing := sorted(required - set(value)):
            raise self.fail(path, f"the field {missing[0]!r} is missing")
        return value

    def trust(self, value: Any) -> Trust:
        top = self.fields(value, "$", {"version", "roles"}, {"version", "roles"})
        if isinstance(top["version"], bool) or not isinstance(top["version"], int):
            raise self.fail("$.version", "expected a whole number")
        check_version(top["version"], VERSION, where=f"{self.path} at $.version")
        roles = self.fields(top["roles"], "$.roles", set(ROLES), set())
        if not roles:
            raise self.fail("$.roles", "nobody is trusted with anything")
        return Trust(
            {role: self.role(roles[role], f"$.roles.{role}") for role in ROLES if role in roles}, str(self.path)
        )

    def role(self, value: Any, path: str) -> RoleKeys:
        entry = self.fields(value, path, {"keys", "threshold"}, {"keys"})
        listed = entry["keys"]
        if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_KEYS:
            raise self.fail(f"{path}.keys", f"expected a list of 1 to {MAX_KEYS} keys; leave an unused role out")
        distinct = {key.keyid: key for key in (self.key(one, f"{path}.keys[{i}]") for i, one in enumerate(listed))}
        threshold = entry.get("threshold", 1)
        if isinstance(threshold, bool) or not isinstance(threshold, int):
            raise self.fail(f"{path}.threshold", "expected a whole number")
        if not 1 <= threshold <= len(distinct):
            raise self.fail(
                f"{path}.threshold", f"{threshold} is not between 1 and the number of distinct keys, {len(distinct)}"
            )
        return RoleKeys(tuple(distinct.values()), threshold)

    def key(self, value: Any, path: str) -> PublicKey:
        entry = self.fields(value, path, {"pem", "path", "keyid"}, set())
        if ("pem" in entry) == ("path" in entry):
            raise self.fail(path, "expected exactly one of pem and path")
        if not all(isinstance(text, str) for text in entry.values()):
            raise self.fail(path, "expected text")
        if "pem" in entry:
            key = PublicKey.from_pem(entry["pem"].encode("utf-8", "replace"), where=f"{self.path} at {path}.pem")
        else:
            key = self.key_file(entry["path"], f"{path}.path")
        if "keyid" in entry and check_keyid(entry["keyid"], where=f"{self.path} at {path}.keyid") != key.keyid:
            raise self.fail(f"{path}.keyid", f"the key's fingerprint is {key.keyid}")
        return key

    def key_file(self, text: str, path: str) -> PublicKey:
        if not text or "\0" in text or Path(text).is_absolute():
            raise self.fail(path, "expected a path relative to the trust file")
        file = self.path.parent / text
        _check_outside(file, self.bundle)
        return load_public(file)


def _holds(key: PublicKey, signature: dsse.Signature, envelope: dsse.Envelope) -> bool:
    try:
        key.verify(signature.sig, envelope.signed_bytes)
    except VerificationError:
        return False
    return True


def _check_outside(path: Path, bundle: Path | None) -> None:
    try:
        inside = bundle is not None and path.resolve().is_relative_to(bundle.resolve())
    except (OSError, RuntimeError) as cause:  # a loop of links
        raise InputError("leads nowhere", where=str(path), remedy="check the path") from cause
    if inside:
        raise InputError(
            "lies inside what is to be verified, so it proves nothing",
            where=str(path),
            remedy="get the trust file or key on a way that you trust, and keep it elsewhere",
        )
