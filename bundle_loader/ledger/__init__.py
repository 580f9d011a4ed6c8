"""What was asked, what it cost, how it ended."""
