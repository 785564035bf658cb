"""Drawings that Streamlit lacks: a strip of tokens, a matrix of any size."""
