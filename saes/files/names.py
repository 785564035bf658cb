"""Names of hooks in SAELens' files, which are TransformerLens', and ours."""

from __future__ import annotations

from workbench.aliases import OUTSIDE_BLOCKS, TRANSFORMER_LENS

# Where TransformerLens has two names of a tensor: the one that published autoencoders carry.
_PREFERRED = {"mixer.hook_out": "hook_attn_out", "mixer.hook_q": "attn.hook_q", "mixer.hook_k": "attn.hook_k"}
# A block's "hook_in" and "hook_out" are spellings of later TransformerLens versions; files carry resid_pre and _post.
_THEIRS = {ours: theirs for theirs, ours in TRANSFORMER_LENS.items() if ours.startswith("mixer.")} | _PREFERRED


def canonical(name: str) -> str:
    """Our name of the hook that SAELens' file calls `name`; a name that we do not know stays as it is."""
    head, tail = _split(name)
    return f"{head}{TRANSFORMER_LENS[tail]}" if head and tail in TRANSFORMER_LENS else OUTSIDE_BLOCKS.get(name, name)


def transformer_lens(name: str) -> str:
    """TransformerLens' name of our hook, as SAELens asks a model for it; a hook it lacks keeps our name."""
    head, tail = _split(name)
    return f"{head}{_THEIRS[tail]}" if head and tail in _THEIRS else name


def _split(name: str) -> tuple[str, str]:
    """``blocks.5.`` and what comes after it."""
    parts = name.split(".", 2)
    if len(parts) == 3 and parts[0] == "blocks" and parts[1].isdecimal():
        return f"blocks.{parts[1]}.", parts[2]
    return "", name
