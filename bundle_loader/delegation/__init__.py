"""Carrying a delegation out: the only place that tries."""
