"""What every page shares: the sidebar, controls that live in the link, computing with progress, the foot of a panel."""

from workbench.app.shell.asking import Asked, asked, model_named
from workbench.app.shell.computing import computed
from workbench.app.shell.controls import choice, number, switch, text
from workbench.app.shell.panel import foot
from workbench.app.shell.titles import begin

__all__ = ["Asked", "asked", "begin", "choice", "computed", "foot", "model_named", "number", "switch", "text"]
