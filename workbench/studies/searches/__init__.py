"""Which sets of sites a study tries."""
