"""Testbeds whose answers are programs in Python, judged in the sandbox. Each data set has one file, which turns a record
into an `Exercise`.

Begin with `exercise` (what a record becomes) and `testbed` (files, splits, opening). `preflab.sandbox.answer` finds the
program in an answer.
"""
