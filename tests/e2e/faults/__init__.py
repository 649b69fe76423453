"""Every system call of the library, made to fail in every way it can.

`python -m faults` (make faults) goes through all cases; tests/e2e/test_faults.py
through some. See docs/reliability.md.
"""
