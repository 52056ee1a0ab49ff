"""The built-in testbed of short statements, small programs and hidden tests; begin to read in `testbed`."""

from preflab.testbeds.minicode.testbed import Minicode

__all__ = ["Minicode"]
