"""Short names of hooks, in TransformerLens' words (``"resid_post"``, ``"z"``), and where in a block they live."""

from __future__ import annotations

# Short names that live in the mixer or the MLP; every other one is a name in the block itself.
IN_MIXER = {"in", "q", "k", "v", "z", "pattern", "state", "log_decay", "write", "gate", "head_out", "beta", "result"}
IN_MLP = {"pre", "post"}
OUTSIDE = {"embed", "pos_embed", "logits"}


def tail_of(short: str, section: str | None = None) -> str:
    """A hook's name within its block, of a part if one is named: ``tail_of("z") == "mixer.hook_z"``."""
    part = section or ("mixer" if short in IN_MIXER else "mlp" if short in IN_MLP else None)
    return f"{part}.hook_{short}" if part else f"hook_{short}"
