"""Train a tuned lens with the authors' package, on our rows in our order: ``python authors_training.py FOLDER STEPS``.

Run in an environment that has ``tuned-lens``. FOLDER holds ``model`` (a transformers checkpoint) and ``rows.pt`` (rows
of tokens, in the order of the steps); the authors' own loop leaves the lens in ``theirs``. Only what loads the model
and what hands out the rows is replaced: today's transformers takes other arguments, and the order must be ours.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2LMHeadModel
from tuned_lens.scripts import ingredients
from tuned_lens.scripts.train_loop import Train

FOLDER, STEPS = Path(sys.argv[1]), int(sys.argv[2])


@dataclass
class Model(ingredients.Model):
    def load(self, device: Any, must_use_cache: bool = False) -> Any:
        model = GPT2LMHeadModel.from_pretrained(FOLDER / "model").eval().requires_grad_(False)
        return model, "no tokenizer is needed for rows of tokens"


@dataclass
class Data(ingredients.Data):
    def load(self, tokenizer: Any) -> Any:
        return [{"input_ids": row} for row in torch.load(FOLDER / "rows.pt", weights_only=True)], 1.0


class Loader(list):
    def seed(self, seed: int) -> None:
        """The order is given."""


@dataclass
class Distributed(ingredients.Distributed):
    def data_loader(self, dataset: Any) -> Loader:
        rows = torch.stack([item["input_ids"] for item in dataset])
        return Loader({"input_ids": part} for part in rows.split(self.per_gpu_batch_size))


rows = torch.load(FOLDER / "rows.pt", weights_only=True)
batch = len(rows) // STEPS
Train(
    model=Model(name="ours"),
    data=Data(),
    opt=ingredients.Optimizer(),
    dist=Distributed(per_gpu_batch_size=batch),
    output=FOLDER / "theirs",
    bias_only=False,
    num_steps=STEPS,
    tokens_per_step=batch * rows.shape[1],
    lens_name_or_path=None,
    wandb=None,
    token_shift=None,
    checkpoint_freq=None,
    checkpoint_dir=None,
).execute()
