"""The embedded testbed of short opinions with a known true reward. To read this package, start with the module
`testbed`."""

from preflab.testbeds.sentiment.testbed import Sentiment

__all__ = ["Sentiment"]
