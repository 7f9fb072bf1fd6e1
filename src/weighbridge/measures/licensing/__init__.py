"""Licensing: licence files, metadata and lineage against a table of licence families and their duties."""

from weighbridge.measures.licensing.lineage import Lineage, load_lineage, parse_lineage
from weighbridge.measures.licensing.measure import Licensing
from weighbridge.measures.licensing.table import Table, load_table, parse_table

__all__ = ["Licensing", "Lineage", "Table", "load_lineage", "load_table", "parse_lineage", "parse_table"]
