"""Preference judges. A preference judge, usually a model, compares two answers to one prompt and decides which is more
helpful.

A judge gets `PreferenceQuestion`s and returns `PairVerdict`s. Every question is asked in both orders of the answers; if
the two orders disagree, the pair is a tie. See docs/winrates.md.
"""
