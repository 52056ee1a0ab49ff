"""Reads the user's records: `files` says where they lie, `shapes` what they mean, `check` what is wrong with them."""
