"""The pull-through cache: an upstream that looks like a repository."""
