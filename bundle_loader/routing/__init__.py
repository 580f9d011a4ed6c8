"""Which model may do the work, and why: pure."""
