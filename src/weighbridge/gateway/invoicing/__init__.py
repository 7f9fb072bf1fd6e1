"""From rows of the ledger to invoices, exports and the reconciliation of both with the engine."""
