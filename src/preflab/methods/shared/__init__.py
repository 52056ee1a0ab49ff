"""Functions that several methods share; a method calls these functions, and does not inherit from another method."""
