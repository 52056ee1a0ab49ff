"""The testbed `safeworld`, which comes with preflab: requests whose answers have an exact helpfulness and an exact
safety. To read this package, start with the module `testbed`."""

from preflab.testbeds.safeworld.testbed import Safeworld

__all__ = ["Safeworld"]
