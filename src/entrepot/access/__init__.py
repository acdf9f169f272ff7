"""Who may do what: names, actors, the one decision, credentials, tokens, throttling, pull limits."""
