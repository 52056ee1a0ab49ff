"""Provides what the training loops of all methods share: the run directory, the checkpoints, the budget and the learner."""
