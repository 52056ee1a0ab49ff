"""The synthetic scenario of the paper (Section 4.2, Figure 1): when do DPO and PPO move mass onto responses in no pair?

Read `scenario` (the data), `networks` (MLPs, trained for all seeds at once), `objectives` (what each method minimises),
`experiment` (one setting), `sweep` (many settings), `measures` and `conclude` (from numbers to the verdict), `figures`.
"""
