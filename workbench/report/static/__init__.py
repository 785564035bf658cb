"""Styles and scripts that are written into every page."""
