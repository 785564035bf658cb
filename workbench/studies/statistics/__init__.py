"""What a study's numbers say: effects with intervals and tests, controls, interactions, doses, differences of studies.

The sample is the prompt group, never the token: an effect is edited less baseline on the same prompts, averaged within
groups, and groups are what is resampled and whose signs are flipped.
"""
