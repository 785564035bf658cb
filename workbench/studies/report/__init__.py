"""What a study found: effects with intervals, tests, figures and one page."""
