"""The one page template."""
