"""The embedded testbed of short opinions with a known true reward. Start to read this package in `testbed`."""

from preflab.testbeds.sentiment.testbed import Sentiment

__all__ = ["Sentiment"]
