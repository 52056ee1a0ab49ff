"""Contains the testbeds whose answers are Python programs. The sandbox judges these programs.

Each data set has its own module, which converts a record into an `Exercise`. To read this package, start with two
modules. The module `exercise` defines the form of a problem. The module `testbed` reads the files, splits the problems
and opens the testbed. The module `preflab.sandbox.answer` finds the program in an answer.
"""
