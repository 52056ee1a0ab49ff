"""Testbeds whose answers are Python programs, which the sandbox judges. Each data set has one file.

The file of a data set turns its records into an `Exercise` each. Begin to read with `exercise` (the form of a problem)
and `testbed` (files, splits, opening). The module `preflab.sandbox.answer` finds the program in an answer.
"""
