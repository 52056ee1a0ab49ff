"""Reads the user's records: `files` opens a source, `shapes` recognises a record's form, `check` finds faults."""
