"""Agents as markdown files that say which provider and model should do the work."""
