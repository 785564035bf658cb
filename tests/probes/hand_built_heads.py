"""More models with known heads: one that reads three tokens of context, one whose heads know what comes next."""

import math

import torch
from torch import nn

from tests.probes.hand_built import TOKENS, blank, blank_gpt2

CYCLE = range(1, 8)  # tokens of a class whose first follows its last, as of weekdays
LINE = range(8, TOKENS)  # tokens of a class that ends


def trigram_gpt2() -> nn.Module:
    """Two layers of attention; heads 1 and 2 of the second read what followed one and two tokens of context.

    Heads 0 and 1 of layer 0 write what the previous token was and the one before that. Where the context has not
    occurred, the two heads rest on token 0. Nothing else has a weight.
    """
    context, heads, half = 64, 4, 160
    width, size = 2 * half, 2 * half // heads
    model = blank_gpt2(context, width, heads)
    token, position = range(TOKENS), range(TOKENS, TOKENS + context)
    back = [range(position.stop + n * TOKENS, position.stop + (n + 1) * TOKENS) for n in range(3)]
    signs = torch.tensor([1.0, -1.0])
    gain = [math.sqrt(half / 2), math.sqrt(half / 4)]
    sharp = [math.sqrt(40 * math.sqrt(size)) / one for one in gain]
    query, key, value = range(3)
    with torch.no_grad():
        blocks = model.transformer.h

        def read(layer: int, head: int, which: int, at: int, into: int, strength: float) -> None:
            column = which * width + head * size + into
            blocks[layer].attn.c_attn.weight[[at, at + half], column] += strength * signs / 2

        def write(layer: int, head: int, out_of: int, at: int) -> None:
            blocks[layer].attn.c_proj.weight[head * size + out_of, [at, at + half]] = signs

        for i in range(context):
            model.transformer.wpe.weight[i, [position[i], position[i] + half]] = signs
            for head, lag in ((0, 1), (1, 2)):
                read(0, head, query, position[i], i, sharp[0])
                if i + lag < context:
                    read(0, head, key, position[i], i + lag, sharp[0])
        for i in token:
            model.transformer.wte.weight[i, [token[i], token[i] + half]] = signs
            model.lm_head.weight[i, [back[2][i], back[2][i] + half]] = 2 * signs
            for head in (0, 1):
                read(0, head, value, token[i], i, 1 / gain[0])
                write(0, head, i, back[head][i])
            for head, rest in ((1, 0.5), (2, 1.5)):
                read(1, head, query, token[i], i, sharp[1])
                read(1, head, key, back[0][i], i, sharp[1])
                read(1, head, query, token[i], 2 * TOKENS, sharp[1])
                if i > 0:
                    read(1, head, value, token[i], i, 1 / gain[1])
                    write(1, head, i, back[2][i])
                else:
                    read(1, head, key, token[0], 2 * TOKENS, rest * sharp[1])
            read(1, 2, query, back[0][i], TOKENS + i, sharp[1])
            read(1, 2, key, back[1][i], TOKENS + i, sharp[1])
    return model


def successor_llama() -> nn.Module:
    """One layer of attention and an MLP that hands tokens on: head 1 writes a token's successor, head 2 the token.

    Heads 2 and 3 share their keys and values with 3 and 2, so head 3 reads what head 2 reads; it and head 0, with head
    1 in the other group, write random numbers where something reads.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    width, heads, size = 64, 4, TOKENS
    config = LlamaConfig(
        vocab_size=TOKENS,
        hidden_size=width,
        intermediate_size=TOKENS,
        num_hidden_layers=1,
        num_attention_heads=heads,
        num_key_value_heads=2,
        head_dim=size,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = blank(LlamaForCausalLM(config))
    random = torch.Generator().manual_seed(0)
    follows = {each: each + 1 for each in [*CYCLE, *LINE[:-1]]} | {CYCLE[-1]: CYCLE[0]}
    with torch.no_grad():
        block = model.model.layers[0]
        out = block.self_attn.o_proj.weight
        out[TOKENS : 2 * TOKENS] = 0.1 * torch.randn(TOKENS, heads * size, generator=random)
        out[:, size : 3 * size] = 0
        for i in range(TOKENS):
            model.model.embed_tokens.weight[i, i] = 1
            model.lm_head.weight[i, TOKENS + i] = 1
            block.mlp.gate_proj.weight[i, i] = 4
            block.mlp.up_proj.weight[i, i] = 1
            block.mlp.down_proj.weight[i, i] = 1
            for group in (0, 1):
                block.self_attn.v_proj.weight[group * size + i, i] = 1
            if i in follows:
                out[TOKENS + follows[i], size + i] = 1
            out[TOKENS + i, 2 * size + i] = 1
    return model


UNITS, TENS = 10, 6  # of `counting_llama`
NUMBERS = range(1, UNITS * TENS)  # its tokens, each its own number


def counting_llama() -> nn.Module:
    """The first MLP writes a number's units and tens; head 1 of layer 1 takes the units one further and keeps the tens.

    It knows no carry: after 19 comes 10. The other heads of layer 1 write random numbers where something reads; the
    heads of layer 0 and the second MLP write nothing.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    count, heads, size = UNITS * TENS, 4, UNITS + TENS
    width = count + 2 * size
    config = LlamaConfig(
        vocab_size=count,
        hidden_size=width,
        intermediate_size=count,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=size,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = blank(LlamaForCausalLM(config))
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        mlp, attention = model.model.layers[0].mlp, model.model.layers[1].self_attn
        made, logits = count, count + size
        value, out = attention.v_proj.weight, attention.o_proj.weight
        out[logits:] = 0.3 * torch.randn(size, heads * size, generator=random)
        out[:, size : 2 * size] = 0
        for i in range(count):
            digits = [i % UNITS, UNITS + i // UNITS]
            model.model.embed_tokens.weight[i, i] = 1
            mlp.gate_proj.weight[i, i] = 4
            mlp.up_proj.weight[i, i] = 1
            for digit in digits:
                mlp.down_proj.weight[made + digit, i] = 0.01
                model.lm_head.weight[i, logits + digit] = 1
        for head in range(heads):
            for digit in range(size):
                value[head * size + digit, made + digit] = 1
        for unit in range(UNITS):
            out[logits + (unit + 1) % UNITS, size + unit] = 1
        for ten in range(UNITS, size):
            out[logits + ten, size + ten] = 1
    return model
