"""Contains functions that several methods share. A method calls these functions, and does not inherit from another
method."""
