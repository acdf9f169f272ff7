"""The data plane, without HTTP and without SQL. `ports.py` says what it needs of the world."""
