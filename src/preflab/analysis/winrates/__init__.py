"""Computes win rates between arms from a judge's outcomes, with confidence intervals. Does not import torch.

An outcome is 1 if the first answer won, 0 if it lost and .5 for a tie. A table of outcomes has one row for each seed and
one column for each prompt.
"""
