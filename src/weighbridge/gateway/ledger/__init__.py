"""The ledger: intents, seals and corrections as rows that never change, and the admission that reads them."""
