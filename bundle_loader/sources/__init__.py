"""Where text comes from: files, roots, shipped data."""
