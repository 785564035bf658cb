"""The explorer: a Streamlit app over everything below. ``workbench app`` starts it."""
