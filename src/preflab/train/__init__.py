"""The code that all methods share for training: the run directory, checkpoints, budget, training loop and learner."""
