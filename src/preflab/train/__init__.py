"""The code that the training of all methods shares: the run directory, checkpoints, budget, training loop and
learner."""
