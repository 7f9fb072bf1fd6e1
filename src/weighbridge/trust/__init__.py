"""Who is trusted, and with what: keys, envelopes, the trust file, signed decisions, approvals, revocation.

Nothing here imports ``cryptography`` before a key is used.
"""

from weighbridge.trust.approval import Approval, make_approval, verify_approvals
from weighbridge.trust.decisions import load_decision, read_decision_unverified, verify_decision
from weighbridge.trust.dsse import cosign, sign
from weighbridge.trust.imports import Import, make_import, verify_import
from weighbridge.trust.keys import PrivateKey, PublicKey, Signer, load_private, load_public, new_key
from weighbridge.trust.revocation import RevocationList, check_not_revoked, make_revocations, verify_revocations
from weighbridge.trust.state import State, check_clock, check_latest, load_state, update_state
from weighbridge.trust.trust_file import Role, Trust, load_trust

__all__ = [
    "Approval",
    "Import",
    "PrivateKey",
    "PublicKey",
    "RevocationList",
    "Role",
    "Signer",
    "State",
    "Trust",
    "check_clock",
    "check_latest",
    "check_not_revoked",
    "cosign",
    "load_decision",
    "load_private",
    "load_public",
    "load_state",
    "load_trust",
    "make_approval",
    "make_import",
    "make_revocations",
    "new_key",
    "read_decision_unverified",
    "sign",
    "update_state",
    "verify_approvals",
    "verify_decision",
    "verify_import",
    "verify_revocations",
]
