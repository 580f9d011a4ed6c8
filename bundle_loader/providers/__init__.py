"""Places that serve models, each behind the same small protocol."""
