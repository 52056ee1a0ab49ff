"""The embedded testbed of short statements, small programs and hidden tests. To read this package, start with the
module `testbed`."""

from preflab.testbeds.minicode.testbed import Minicode

__all__ = ["Minicode"]
