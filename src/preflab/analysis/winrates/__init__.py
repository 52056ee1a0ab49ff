"""Computes win rates between two sides from a judge's verdicts, with confidence intervals. Does not import torch.

An outcome is 1 if the first answer won, 0 if it lost and .5 for a tie. A table of outcomes has one row for each seed and
one column for each prompt.

A study (`analysis.matches`) and a contest (`contest.analysis`) both give win rates. They share the shares of outcomes, the
treatment of unreadable verdicts, the position bias, the length control, the check of the judge, the rule of the verdict
and the words. They differ in the interval of a mean over the table, because they ask different questions:

- A study compares methods. Its arms are samples of training runs, so one seed gives no interval. Its intervals and
  p-values come from `statistics`, as those of all its comparisons do.
- A contest compares given policies, usually with one set of answers each. With one seed its intervals are over the
  prompts. They come from `shares` and `cells`. Only a contest has labels of people, and therefore corrected win rates.
"""
