"""Samples with vLLM, which runs in a process and, if necessary, in a Python environment of its own."""
