"""``workbench study``: batch studies, from a file to a report."""

from __future__ import annotations

from workbench.cli.commands import Commands
from workbench.cli.study import looking, running

study = Commands(help="Sweep edits over models and prompts: plan, run, resume, report.", no_args_is_help=True)

study.command("plan")(running.plan)
study.command("run")(running.run)
study.command("status")(looking.status)
study.command("resume")(running.resume)
study.command("report")(looking.report)
study.command("compare")(looking.compare)
study.command("export")(looking.export)
