"""Reads PKU-SafeRLHF, which has pairs with a label for helpfulness and a label for safety (Ji et al. 2024). To read
this package, start with the module `testbed`."""

from preflab.testbeds.safe_rlhf.testbed import SafeRLHF

__all__ = ["SafeRLHF"]
