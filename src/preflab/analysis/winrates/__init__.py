"""Computes win rates of one policy or arm against another from a judge's verdicts, with confidence intervals. Does not
import torch.

An outcome is 1 if the first answer won, 0 if it lost and .5 for a tie. A table of outcomes has one row for each seed and
one column for each prompt.

The win rates of studies (`analysis.matches`) and of contests (`contest.analysis`) are computed with the functions of this
package. Only the intervals differ, because studies and contests answer different questions:

- A study compares methods. Its arms are samples of training runs, so one seed gives no interval. The module `statistics`
  computes the intervals and p-values of win rates and of all other comparisons of a study.
- A contest compares given policies, usually with one set of answers each. With one seed, the intervals are over the
  prompts. The modules `shares` and `cells` compute them. Only a contest can use people's labels to correct its win rates.
"""
