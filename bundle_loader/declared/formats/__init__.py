"""Agent files of other tools, read into our own form."""
