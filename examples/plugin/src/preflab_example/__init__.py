"""A reward (`brevity`) and a testbed (`sums`) that preflab finds by their entry points."""
