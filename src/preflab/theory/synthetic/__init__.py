"""Tests whether DPO and PPO move mass onto uncovered responses in the paper's synthetic scenario (Section 4.2, Figure
1). A response is uncovered if it is in no pair.

The paper is Xu et al. 2024, "Is DPO Superior to PPO for LLM Alignment?".

Suggested reading order of the modules: `scenario` (the data), `networks` (MLPs for all seeds at once), `objectives`
(the objective of each method), `experiment` (one setting), `sweep` (many settings), `measures` and `conclude` (the
verdict), and `figures`.
"""
