"""The audit rules: each reads a ledger of published claims and yields findings."""
