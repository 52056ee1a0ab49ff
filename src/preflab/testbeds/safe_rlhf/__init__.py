"""Reads PKU-SafeRLHF (Ji et al. 2024): pairs of responses with labels for helpfulness and for safety. To read this
package, start with the module `testbed`."""

from preflab.testbeds.safe_rlhf.testbed import SafeRLHF

__all__ = ["SafeRLHF"]
