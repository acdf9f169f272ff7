"""Numbers that workers and nodes share: pulls within a moving window."""
