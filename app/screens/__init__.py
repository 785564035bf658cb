"""The pages, one file each: a function that draws it, and nothing that computes (views do).

The folder is not called ``pages``: beside a main script Streamlit takes a folder of that name for pages of its own
kind, and opens the file of a linked page without the main script.
"""
