"""The explorer: ``streamlit run app/Home.py``, or ``workbench app``, which takes options and checks them first."""

from pathlib import Path

import streamlit as st

from workbench.app.navigation import pages
from workbench.app.shell.asking import offer_link, sidebar
from workbench.app.shell.downloading import fetch_models

ICON = Path(__file__).parent / "shell" / "static" / "icon.svg"  # a named icon would be fetched from another site
STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding-top: 3rem; }
/* Else the gap behind it would move the page down for one run. */
[data-testid="stLayoutWrapper"]:has(> .st-key-to-the-page) { position: absolute; }
@media (max-width: 640px) { [data-testid="stMainBlockContainer"] { padding-left: 1rem; padding-right: 1rem; } }
</style>"""

# On a phone the sidebar lies over the page, so it goes when another page was chosen in it.
TO_THE_PAGE = """<script>
// {page}
if (window.innerWidth <= 640) document.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click();
</script>"""

st.set_page_config(page_title="workbench", page_icon=str(ICON), layout="wide")
st.html(STYLE)
chosen = st.navigation(pages())
if st.session_state.setdefault("_page", chosen.url_path) != chosen.url_path:
    st.session_state["_page"] = chosen.url_path
    # The same script twice would run once.
    with st.container(key="to-the-page"):
        st.html(TO_THE_PAGE.replace("{page}", chosen.url_path), unsafe_allow_javascript=True)
sidebar()
try:
    fetch_models()
    chosen.run()
finally:  # also where a page ends early because it waits
    offer_link()
