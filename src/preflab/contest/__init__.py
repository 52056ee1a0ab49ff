"""Contests: a preference judge compares the answers of two or more contestants to the same prompts. See docs/winrates.md."""
