"""The testbed `sentiment`, which comes with preflab: requests for short opinions, and a known true reward. To read this
package, start with the module `testbed`."""

from preflab.testbeds.sentiment.testbed import Sentiment

__all__ = ["Sentiment"]
