"""What the server holds for all its sessions: models, results, jobs and the folder it works in. Knows no Streamlit."""

from workbench.app.serving.jobs import Cancelled, Job, Jobs
from workbench.app.serving.models import Shelf
from workbench.app.serving.results import Results
from workbench.app.serving.server import Server, the_server
from workbench.app.serving.sources import Sources
from workbench.app.serving.workspace import Workspace

__all__ = ["Cancelled", "Job", "Jobs", "Results", "Server", "Shelf", "Sources", "Workspace", "the_server"]
