"""The embedded testbed: short statements, small programs, hidden tests. Start to read in `testbed`."""

from preflab.testbeds.minicode.testbed import Minicode

__all__ = ["Minicode"]
