"""PKU-SafeRLHF: pairs with a label for helpfulness and one for safety (Ji et al. 2024); begin to read in `testbed`."""

from preflab.testbeds.safe_rlhf.testbed import SafeRLHF

__all__ = ["SafeRLHF"]
