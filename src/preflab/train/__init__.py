"""What the loop of every method builds on: the run directory, the checkpoints, the budget and the learner."""
