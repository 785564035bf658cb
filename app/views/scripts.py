"""The code a view offers: it begins with the model and the tokens, and runs as pasted."""

from __future__ import annotations


def script(model: str, prompt: str, body: str, imports: str = "") -> str:
    """Python that loads a model, makes `tokens` of a prompt, and goes on with `body`."""
    first = "import workbench as wb" + (f"\n{imports}" if imports else "")
    return f"{first}\n\nmodel = wb.load({model!r})\ntokens = model.to_tokens({prompt!r})\n{body}\n"
