"""Batch studies: edits of models, swept over sites, methods and prompts; planned, run, resumed and reported."""
