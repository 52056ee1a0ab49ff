"""Provides what the training of all methods shares: the run directory, checkpoints, budget, loop and learner."""
