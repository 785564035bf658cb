"""What a study's models read."""
