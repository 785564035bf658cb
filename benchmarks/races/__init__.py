"""What is raced against what, one subject a file."""
