"""Testbeds whose answers are programs in Python, judged in the sandbox: one file a data set, each a record -> `Exercise`.

Read `exercise` (what a record becomes), `testbed` (files, splits, opening), `extract` (the program in an answer), `judge`.
"""
