"""Functions that several methods share. Each method calls the functions that it needs; no method inherits from another."""
