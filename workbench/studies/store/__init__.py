"""A study's folder: the plan, the journal of results, exports."""
