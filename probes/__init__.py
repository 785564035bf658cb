"""Head finders, lenses and probes, written once against the canonical forms."""
