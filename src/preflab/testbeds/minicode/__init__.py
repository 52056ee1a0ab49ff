"""The embedded testbed: short statements, small programs, hidden tests. `testbed` is where to start reading."""

from preflab.testbeds.minicode.testbed import Minicode

__all__ = ["Minicode"]
