"""Carrying a decision out: the open bundle, its card, bill of materials and signatures; and verifying one."""

from weighbridge.release.bundle import IRREVERSIBLE, Bundle, write_bundle
from weighbridge.release.verify import Verified, open_released, verify_bundle

__all__ = ["IRREVERSIBLE", "Bundle", "Verified", "open_released", "verify_bundle", "write_bundle"]
