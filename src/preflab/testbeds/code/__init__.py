"""Testbeds whose answers are programs in Python, judged in the sandbox: one file a data set, each a record -> `Exercise`.

Read `exercise` (what a record becomes) and `testbed` (files, splits, opening); `preflab.sandbox.answer` finds the program in
an answer.
"""
