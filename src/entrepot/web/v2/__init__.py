"""`/v2/`: the distribution specification."""
