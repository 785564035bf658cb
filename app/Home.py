"""The explorer: ``streamlit run app/Home.py``, or ``workbench app``, which also sets what keeps it on this machine."""

import streamlit as st

from workbench.app.navigation import pages
from workbench.app.shell.asking import sidebar

st.set_page_config(page_title="workbench", page_icon=":material/hub:", layout="wide")
chosen = st.navigation(pages())
sidebar()
chosen.run()
