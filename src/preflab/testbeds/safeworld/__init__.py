"""The embedded testbed of requests with an exact helpfulness and an exact safety. Start to read this package in
`testbed`."""

from preflab.testbeds.safeworld.testbed import Safeworld

__all__ = ["Safeworld"]
