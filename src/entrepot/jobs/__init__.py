"""Work in the background: one module a job, `runner.py` repeats them."""
