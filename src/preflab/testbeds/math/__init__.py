"""The testbed `math`: mathematical problems whose solutions are checked by their final answers."""
