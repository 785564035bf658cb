"""What a study measures."""
