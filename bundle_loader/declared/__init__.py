"""What an author wrote, as values: pure, no file is opened here."""
