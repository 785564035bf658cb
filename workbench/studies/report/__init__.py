"""What a study found: one page with its figures and the data beside it, a table for the terminal, two studies compared.

The numbers come from `workbench.studies.statistics`; here they become words, tables and figures.
"""

from workbench.studies.report.comparison import comparison_text, write_comparison
from workbench.studies.report.page import write_report
from workbench.studies.report.terminal import effects_text
from workbench.studies.statistics.comparing import compare_studies
from workbench.studies.statistics.effects import effects_table

__all__ = [
    "compare_studies",
    "comparison_text",
    "effects_table",
    "effects_text",
    "write_comparison",
    "write_report",
]
