"""HTTP in. `app.py` is the onion on one screen; `protocol.py` and `fast_door.py` lie under it."""
