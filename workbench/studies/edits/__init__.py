"""What a study changes: sites, and what stands there instead."""
