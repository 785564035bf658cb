"""What the pages show, made without Streamlit: numbers, figures, and the code that makes the same numbers."""
