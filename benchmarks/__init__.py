"""Every speed and quality figure, one command each: `python -m benchmarks.<name>`."""
