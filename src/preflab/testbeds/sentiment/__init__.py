"""The embedded testbed of short opinions with a known true reward; begin to read in `testbed`."""

from preflab.testbeds.sentiment.testbed import Sentiment

__all__ = ["Sentiment"]
