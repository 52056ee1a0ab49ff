"""The testbed `minicode`, which comes with preflab: short problem statements, small programs and hidden tests. To read
this package, start with the module `testbed`."""

from preflab.testbeds.minicode.testbed import Minicode

__all__ = ["Minicode"]
