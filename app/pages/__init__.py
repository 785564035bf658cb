"""The pages, one file each: a function that draws it, and nothing that computes (views do)."""
