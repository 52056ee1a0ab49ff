"""Contests. In a contest, a preference judge compares the answers of two or more contestants (such as models) to the same
prompts. See docs/winrates.md."""
