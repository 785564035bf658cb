"""SAEDashboard at work in a process of its own, since it needs older packages than ours.

``python sae_dashboard_worker.py FOLDER HOOK FEATURES``: FOLDER holds a GPT-2 (transformers' files), an autoencoder in
SAELens' layout under ``sae``, and ``tokens.npy``. It says ``ready``, and after each line it reads does the work once,
writes the largest activation of every feature to ``peaks.npy`` and says ``done``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any


def main() -> None:
    """See the module."""
    folder, hook, features = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    import numpy as np
    import torch

    torch.set_num_threads(1)
    from sae_dashboard.sae_vis_data import SaeVisConfig
    from sae_dashboard.sae_vis_runner import SaeVisRunner
    from sae_lens import SAE

    model = hooked(folder)
    tokens = torch.from_numpy(np.load(folder / "tokens.npy"))
    print("ready", flush=True)
    for _ in sys.stdin:
        # The runner folds the decoder's norms into the autoencoder it is given.
        sae = SAE.load_from_disk(str(folder / "sae"), device="cpu")
        with tempfile.TemporaryDirectory() as cache:
            config = SaeVisConfig(hook_point=hook, features=range(features), cache_dir=Path(cache))
            found = SaeVisRunner(config).run(encoder=sae, model=model, tokens=tokens)
        # The first group holds the highest tokens, each in the middle of what is shown of it.
        tops = [found.feature_data_dict[one].sequence_data.seq_group_data[0].seq_data[0] for one in range(features)]
        peaks = [top.feat_acts[len(top.feat_acts) // 2] for top in tops]
        np.save(folder / "peaks.npy", np.asarray(peaks, dtype=np.float32))
        print("done", flush=True)


def hooked(folder: Path) -> Any:
    """The GPT-2 as SAELens' HookedSAETransformer."""
    import torch
    from sae_lens import HookedSAETransformer
    from transformer_lens import HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions.gpt2 import convert_gpt2_weights
    from transformers import GPT2LMHeadModel

    stock: Any = GPT2LMHeadModel.from_pretrained(folder, local_files_only=True)
    config = HookedTransformerConfig(
        d_model=stock.config.n_embd,
        d_head=stock.config.n_embd // stock.config.n_head,
        n_heads=stock.config.n_head,
        d_mlp=4 * stock.config.n_embd,
        n_layers=stock.config.n_layer,
        n_ctx=stock.config.n_positions,
        eps=stock.config.layer_norm_epsilon,
        d_vocab=stock.config.vocab_size,
        act_fn=stock.config.activation_function,
        normalization_type="LN",
        dtype=torch.float32,
        device="cpu",
    )
    model = HookedSAETransformer(config)
    model.load_state_dict(convert_gpt2_weights(stock, config), strict=False)
    return model


if __name__ == "__main__":
    main()
