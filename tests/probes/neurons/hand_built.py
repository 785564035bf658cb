"""A model whose neurons do known things: its first layer's attention makes the previous token known to its MLP."""

import torch
from torch import nn

from tests.probes.hand_built import TOKENS, induction_gpt2

CONTEXT = 32
# The neurons of layer 0, of which there are eight.
DEAD, TOKEN, BIGRAM, FIRST, ALWAYS = range(5)
KNOWN = 5  # what TOKEN fires at
PAIR = (7, 8)  # what BIGRAM fires at, on the second
EARLY = 4  # FIRST fires at positions below
GAIN = (104 / 3) ** 0.5  # of the norm before the MLP: three numbers of 1, with both signs, in 208


def model_with_known_neurons() -> nn.Module:
    """An induction circuit, and beside it five neurons that do known things; the last three are dead, too."""
    model = induction_gpt2()
    half = model.config.n_embd // 2
    signs = torch.tensor([1.0, -1.0])
    token, previous = 0, TOKENS + CONTEXT
    mlp = model.transformer.h[0].mlp
    with torch.no_grad():

        def read(neuron: int, at: int) -> None:
            mlp.c_fc.weight[[at, at + half], neuron] += signs / 2 / GAIN

        mlp.c_fc.bias[DEAD] = -10
        read(TOKEN, token + KNOWN)
        read(BIGRAM, previous + PAIR[0])
        read(BIGRAM, token + PAIR[1])
        for position in range(EARLY):
            read(FIRST, TOKENS + position)
        mlp.c_fc.bias[:] += torch.tensor([0, -0.5, -1.5, -0.5, 2, -10, -10, -10.0])
        mlp.c_fc.weight *= 4
        mlp.c_fc.bias *= 4
        copied = TOKENS + CONTEXT + TOKENS
        mlp.c_proj.weight[TOKEN, [copied + KNOWN, copied + KNOWN + half]] = -signs
    return model
