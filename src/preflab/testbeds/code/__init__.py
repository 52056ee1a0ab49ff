"""Testbeds whose answers are Python programs, which the sandbox judges.

Each data set has one file, which turns a record into an `Exercise`. Begin to read with `exercise` (the form of a
problem) and `testbed` (files, splits, opening). The module `preflab.sandbox.answer` finds the program in an answer.
"""
