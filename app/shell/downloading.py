"""Models of the hub: a link may name any, so nothing is downloaded before somebody has said so."""

from __future__ import annotations

import streamlit as st

from workbench.app.serving import Job, the_server
from workbench.app.serving.hub import fetch, is_fetched, is_offline
from workbench.app.shell.asking import asked
from workbench.app.shell.computing import computed
from workbench.app.shell.ending import end_page


def fetch_models() -> None:
    """In the place of the page, ask before a model is downloaded; nothing where all that is asked for is here."""
    server = the_server()
    for source in asked().models:
        if server.sources.at_hub(source) and not is_fetched(source):
            _fetch(source)


def _fetch(source: str) -> None:
    server, key = the_server(), ("hub", source)
    if not server.results.get(key)[0] and server.jobs.find(key) is None:
        if is_offline():
            st.error(
                f"{source} is not on this machine, and downloads are off here (HF_HUB_OFFLINE=1). Choose a model of "
                "the zoo or of the workspace in the sidebar."
            )
            end_page()
        offer = st.empty()
        with offer.container():
            st.info(f"Download {source} from the hub? It is not on this machine; its weights may take gigabytes.")
            if not st.button(f"Download {source}", type="primary", key=f"download-{source}"):
                end_page()
        offer.empty()

    def work(job: Job) -> bool:
        fetch(source, lambda done, total: job.hear(f"downloading {source}, {done / 1e6:,.0f} MB", done, total))
        return True

    computed(f"downloading {source}", key, work)
