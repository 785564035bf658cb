"""Self-contained HTML pages: one file that opens without a network, on a phone, in the dark, years from now.

Text is escaped by the template, data by the JSON encoder, and a content security policy of hashes lets no other script
run, so a hostile token stays a token.
"""

from workbench.report.blocks import Block, Code, Heading, MatrixPanel, MatrixView, Note, Paragraph, Plot, Table
from workbench.report.cards import Card, CardTable, render_card
from workbench.report.claims import Claims
from workbench.report.files import check_writable, write_atomically
from workbench.report.page import Page, render_page, write_page

__all__ = [
    "Block",
    "Card",
    "CardTable",
    "Claims",
    "Code",
    "Heading",
    "MatrixPanel",
    "MatrixView",
    "Note",
    "Page",
    "Paragraph",
    "Plot",
    "Table",
    "check_writable",
    "render_card",
    "render_page",
    "write_atomically",
    "write_page",
]
