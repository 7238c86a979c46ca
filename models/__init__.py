"""Networks and their shipped weights."""
