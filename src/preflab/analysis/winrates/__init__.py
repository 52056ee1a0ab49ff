"""Win rates: what a judge's outcomes say about the answers of two or more arms, with intervals. No torch.

An outcome is 1 if the first answer won, 0 if it lost and .5 for a tie. A table of outcomes has one row for each seed and
one column for each prompt.
"""
