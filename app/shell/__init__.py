"""What every page shares: the sidebar, controls that live in the link, computing with progress, the foot of a panel."""

from workbench.app.shell.asking import Asked, asked, model_named
from workbench.app.shell.computing import computed
from workbench.app.shell.controls import choice, number, put, switch, text
from workbench.app.shell.ending import end_page
from workbench.app.shell.linking import view_link
from workbench.app.shell.panel import foot
from workbench.app.shell.titles import begin
from workbench.app.shell.waiting import about_seconds
from workbench.app.shell.wording import plain

__all__ = [
    "Asked",
    "about_seconds",
    "asked",
    "begin",
    "choice",
    "computed",
    "end_page",
    "foot",
    "model_named",
    "number",
    "plain",
    "put",
    "switch",
    "text",
    "view_link",
]
