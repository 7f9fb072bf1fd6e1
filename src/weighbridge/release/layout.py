"""Where things lie in a bundle, and the release's own record. Pure.

config.json, *.safetensors, tokenizer.json ...   the checkpoint: the decision's subjects, byte for byte
artifacts/<name>.gguf                            the artifacts that the policy lets out
LICENSE, NOTICE                                  only what licence duties add (see ``duties``)
README.md                                        the model card
model.sig                                        the OpenSSF model signature: every file but itself
weighbridge/release.json                         what was released, when, by whom, and what was added
weighbridge/decision.json                        the signed decision
weighbridge/approvals/<n>.json                   the signed approvals
weighbridge/policy.json                          the policy, canonical
weighbridge/evidence/<question>.json             the records that the decision names
weighbridge/plans/<plan>.json                    the plans that decision and records name
weighbridge/imports/<record>.json                who vouches for evidence of another harness
weighbridge/successors/<record>.json             the decision by which a successor is served, if the policy asks for it
weighbridge/baselines/<name>/<record>.json       the evidence of other models that the decision compared with
weighbridge/bom.cdx.json                         the bill of materials, CycloneDX
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from weighbridge import canonical, structure
from weighbridge.baselines import kept_name
from weighbridge.errors import InputError
from weighbridge.release.oms import SIGNATURE_FILE
from weighbridge.statement import check_digest, check_keyid, check_version
from weighbridge.times import format_time, parse_time
from weighbridge.verdicts import Judgement

VERSION = 1

FOLDER = "weighbridge/"
ARTIFACTS = "artifacts/"
CARD = "README.md"
RECORD = FOLDER + "release.json"
DECISION = FOLDER + "decision.json"
POLICY = FOLDER + "policy.json"
BOM = FOLDER + "bom.cdx.json"
APPROVALS = FOLDER + "approvals/"
EVIDENCE = FOLDER + "evidence/"
IMPORTS = FOLDER + "imports/"
PLANS = FOLDER + "plans/"
SUCCESSORS = FOLDER + "successors/"
BASELINES = FOLDER + "baselines"
REQUIRED = (CARD, SIGNATURE_FILE, RECORD, DECISION, POLICY, BOM)

# What model-signing leaves out unless told otherwise: its own command line would not verify such a bundle.
UNSIGNED_BY_PEERS = (".git", ".gitattributes", ".github", ".gitignore")


@dataclass(frozen=True, slots=True)
class Added:
    """A file that the release added beside the checkpoint's own: its path, SHA-256 in hex, the code of
    the duty, and the licence whose text it is, if it is one."""

    path: str
    sha256: str
    duty: str
    license: str | None


@dataclass(frozen=True)
class ReleaseRecord:
    """What a bundle says of its own making. ``publisher`` is the fingerprint of the key that signs it."""

    name: str
    decision: str
    checkpoint: str
    released_at: datetime
    publisher: str
    added: tuple[Added, ...]
    producer: str

    def encode(self) -> bytes:
        """Canonical JSON."""
        return canonical.dumps(
            {
                "version": VERSION,
                "name": self.name,
                "decision": self.decision,
                "checkpoint": self.checkpoint,
                "released_at": format_time(self.released_at),
                "publisher": self.publisher,
                "added": [
                    {"path": one.path, "sha256": one.sha256, "duty": one.duty, "license": one.license}
                    for one in self.added
                ],
                "producer": self.producer,
            }
        )

    @classmethod
    def parse(cls, data: bytes, *, where: str) -> ReleaseRecord:
        """Read ``encode``'s form. Raises ``InputError`` for anything else."""
        form = structure.parse(_Form, canonical.loads(data, where=where), where=where)
        check_version(form.version, VERSION, where=where)
        record = cls(
            name=form.name,
            decision=check_digest(form.decision, where=where),
            checkpoint=check_digest(form.checkpoint, where=where),
            released_at=parse_time(form.released_at, where=where),
            publisher=check_keyid(form.publisher, where=where),
            added=form.added,
            producer=form.producer,
        )
        if record.encode() != data:
            raise InputError("not in canonical form", where=where)
        return record


def own_name(path: str) -> bool:
    """Whether a path belongs to the bundle and not to the checkpoint in it."""
    return path.startswith(FOLDER) or path in (CARD, SIGNATURE_FILE)


def artifact_path(name: str) -> str:
    """Where the artifact ``name`` lies."""
    return f"{ARTIFACTS}{name}.gguf"


def published(judgement: Judgement) -> dict[str, str]:
    """Path -> SHA-256 in hex of each artifact that goes into a bundle: those of which every line is met."""
    return {
        artifact_path(one.name): one.digest.removeprefix("sha256:")
        for one in judgement.artifacts.values()
        if one.outcome == "met"
    }


def evidence_path(question: str) -> str:
    """Where the record that answers ``question`` (``sha256:<hex>``) lies."""
    return f"{EVIDENCE}{question.removeprefix('sha256:')}.json"


def plan_path(plan: str) -> str:
    """Where the plan with the digest ``plan`` lies."""
    return f"{PLANS}{plan.removeprefix('sha256:')}.json"


def baseline_path(baseline: str, record: str) -> str:
    """Where the record with the digest ``record`` of a baseline lies."""
    return f"{BASELINES}/{kept_name(baseline, record)}"


def succession_path(record: str) -> str:
    """Where the successor's decision lies that the record with the digest ``record`` is about."""
    return f"{SUCCESSORS}{record.removeprefix('sha256:')}.json"


def import_path(record: str) -> str:
    """Where the signed import of the record with the digest ``record`` lies."""
    return f"{IMPORTS}{record.removeprefix('sha256:')}.json"


@dataclass(frozen=True)
class _Form:
    version: int
    name: str
    decision: str
    checkpoint: str
    released_at: str
    publisher: str
    added: tuple[Added, ...]
    producer: str
