"""Contains the testbeds whose answers are Python programs. The sandbox judges these programs.

Each data set has its own module, which converts a record into an `Exercise`. To read this package, start with the
modules `exercise` (the form of a problem) and `testbed` (files, splits, opening). The module `preflab.sandbox.answer`
finds the program in an answer.
"""
