"""Words of others on a page: of links, files and models."""

from __future__ import annotations

import re

_MARKS = re.compile(r"[\\`*_\[\]<>&$~]|:(?=[\w/+-]+:)|^[#+-]", re.MULTILINE)


def plain(text: str) -> str:
    """Text that Streamlit's Markdown shows as it stands, without emphasis, hidden links, pictures, colours or formulas.

    A link to the app may carry what somebody else wrote, and so may a model's name.
    """
    return _MARKS.sub(r"\\\g<0>", text)
