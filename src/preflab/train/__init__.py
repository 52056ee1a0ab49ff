"""The run directory, checkpoints, the budget's meter and the learner: what every method's loop stands on."""
