"""Models whose heads are known because every weight was set by hand.

Token 0 is the beginning of the sequence. Tokens are one-hot in the residual stream, so that a mixer's matrices can be
written down; what a model copies goes to dimensions of its own, which alone reach the logits.
"""

import math

import torch
from torch import Tensor, nn

TOKENS = 20


@torch.no_grad()
def blank(model: nn.Module) -> nn.Module:
    """The model without weights, but for the scales of its norms, which are 1."""
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            parameter.fill_("Norm" in type(module).__name__ and parameter is getattr(module, "weight", None))
    return model.eval()


def blank_gpt2(context: int, width: int, heads: int) -> nn.Module:
    """Two layers of attention without weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=TOKENS,
        n_positions=context,
        n_embd=width,
        n_layer=2,
        n_head=heads,
        n_inner=8,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    return blank(GPT2LMHeadModel(config))


def induction_gpt2() -> nn.Module:
    """An exact induction circuit in two layers of attention.

    Head 0 of layer 0 reads the first token, head 1 the previous one, head 2 the previous occurrence and head 3 the
    current token. Head 2 of layer 1 reads the token whose predecessor is the current token, and rests on token 0 where
    there is none. Its other heads are random, and all but two heads write where nothing reads.
    """
    context, width, heads = 32, 208, 4
    half, size = width // 2, width // heads
    model = blank_gpt2(context, width, heads)
    random = torch.Generator().manual_seed(0)
    token, position = range(TOKENS), range(TOKENS, TOKENS + context)
    previous = range(position.stop, position.stop + TOKENS)
    copied = range(previous.stop, previous.stop + TOKENS)
    spare = range(copied.stop, half)

    def both(at: int) -> list[int]:
        # Every number is there twice, with both signs: the layer norm's mean is 0 and leaves it alone.
        return [at, at + half]

    signs = torch.tensor([1.0, -1.0])
    with torch.no_grad():
        for i in token:
            model.transformer.wte.weight[i, both(i)] = signs
            model.lm_head.weight[i, both(copied[i])] = 2 * signs
        for i in range(context):
            model.transformer.wpe.weight[i, both(position[i])] = signs

        def query_key_value(layer: int, head: int, which: int) -> Tensor:
            start = which * width + head * size
            return model.transformer.h[layer].attn.c_attn.weight[:, start : start + size]

        def read(layer: int, head: int, which: int, at: int, into: int, strength: float) -> None:
            query_key_value(layer, head, which)[both(at), into] += strength * signs / 2

        def write(layer: int, head: int, out_of: int, at: int, strength: float) -> None:
            model.transformer.h[layer].attn.c_proj.weight[head * size + out_of, both(at)] = strength * signs

        query, key, value = range(3)
        # The layer norm multiplies by sqrt(half / |u|^2), with |u|^2 = 2 in layer 0 and 3 in layer 1.
        gain = [math.sqrt(half / 2), math.sqrt(half / 3)]
        sharp = [math.sqrt(40 * math.sqrt(size)) / g for g in gain]
        for i in range(context):
            read(0, 1, query, position[i], i, sharp[0])
            if i + 1 < context:
                read(0, 1, key, position[i], i + 1, sharp[0])
            read(0, 0, query, position[i], 0, sharp[0])
            read(0, 3, query, position[i], i, sharp[0])
            read(0, 3, key, position[i], i, sharp[0])
            read(0, 2, query, position[i], TOKENS + i, sharp[0])
            read(0, 2, key, position[i], TOKENS + i, -2 * sharp[0])
        for i in token:
            read(0, 1, value, token[i], i, 1 / gain[0])
            write(0, 1, i, previous[i], 1.0)
            read(0, 2, query, token[i], i, sharp[0])
            read(0, 2, key, token[i], i, sharp[0])
            read(1, 2, query, token[i], i, sharp[1])
            read(1, 2, key, previous[i], i, sharp[1])
            read(1, 2, query, token[i], TOKENS, sharp[1])
            if i > 0:
                read(1, 2, value, token[i], i, 1 / gain[1])
                write(1, 2, i, copied[i], 1.0)
        read(0, 0, key, position[0], 0, sharp[0])
        read(1, 2, key, token[0], TOKENS, sharp[1] / 2)
        for layer, head in ((0, 0), (0, 3), (1, 0), (1, 1), (1, 3), (0, 2)):
            for which in range(3) if layer == 1 else [value]:
                part = query_key_value(layer, head, which)
                part.copy_(0.05 * torch.randn(part.shape, generator=random))
            for i, at in enumerate(spare):
                write(layer, head, i, at, 0.05)
    return model


def induction_mamba(late: int = 0) -> nn.Module:
    """One Mamba-1 layer that copies: channels 0..19 read the token after the previous occurrence of the current one.

    Their state keeps what followed each token: the convolution gives the write key B the token before, the read key C
    the current token. The other 60 channels forget at once.

    Args:
        late: by how many tokens the convolution delays the values: the recurrence then reads that much later positions
            and the mixer as a whole still reads the right ones.
    """
    from transformers import MambaConfig, MambaForCausalLM

    width, inner = 48, 96
    config = MambaConfig(
        vocab_size=TOKENS,
        hidden_size=width,
        state_size=TOKENS,
        num_hidden_layers=1,
        expand=2,
        conv_kernel=4,
        time_step_rank=2,
        use_bias=False,
        use_conv_bias=True,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    model = blank(MambaForCausalLM(config))
    constant, copied = TOKENS, TOKENS + 1
    gain = math.sqrt(width / 2)
    with torch.no_grad():
        _one_hot(model.backbone.embeddings.weight, model.lm_head.weight, constant, copied)
        mixer = model.backbone.layers[0].mixer
        mixer.in_proj.weight[inner:, constant] = 4 / gain
        values, keys, queries = range(TOKENS), range(TOKENS, 2 * TOKENS), range(2 * TOKENS, 3 * TOKENS)
        mixer.A_log.fill_(2.5)
        mixer.A_log[: len(values)] = -14
        mixer.dt_proj.bias.fill_(math.log(math.e - 1))
        for i in range(TOKENS):
            for channel, lag in ((values[i], late), (keys[i], late + 1), (queries[i], 0)):
                mixer.in_proj.weight[channel, i] = 4 / gain
                mixer.conv1d.weight[channel, 0, -1 - lag] = 1
            mixer.x_proj.weight[2 + i, keys[i]] = 0.3
            mixer.x_proj.weight[2 + TOKENS + i, queries[i]] = 0.3
            mixer.out_proj.weight[copied + i, values[i]] = 0.5
    return model


def previous_token_mamba(by: str) -> nn.Module:
    """One Mamba-1 layer in which channels 0..3 read the previous token, by ``"state"`` or by ``"convolution"``.

    With ``"counting"`` no channel does: 0..3 count, reading all tokens alike; 4..7 halve what they read at each step.

    By state, the weight of a source `d` tokens back is ``r1^d - 9 r2^d + 8 r3^d``, which is 0 at 0 and at 2 for the
    rates (0.3, 0.1, 0). Channels 4..7 have one rate only, so their matrix is 0, and the others have rates that remember
    long. By convolution, the recurrence forgets at once and the taps of channels 0..3 select the token before.
    """
    from transformers import MambaConfig, MambaForCausalLM

    width, inner, states = 32, 64, 3
    config = MambaConfig(
        vocab_size=TOKENS,
        hidden_size=width,
        state_size=states,
        num_hidden_layers=1,
        expand=2,
        conv_kernel=4,
        time_step_rank=2,
        use_conv_bias=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = MambaForCausalLM(config).eval()
    with torch.no_grad():
        mixer = model.backbone.layers[0].mixer
        # The last channel is constant, and alone decides B and C.
        mixer.in_proj.weight[inner - 1] = 0
        mixer.conv1d.weight[inner - 1] = 0
        mixer.conv1d.bias.zero_()
        mixer.conv1d.bias[inner - 1] = 3
        level = 3 / (1 + math.exp(-3))
        mixer.conv1d.weight[:] = 0
        mixer.conv1d.weight[:, 0, -1] = 1
        mixer.x_proj.weight.zero_()
        mixer.dt_proj.weight.zero_()
        mixer.dt_proj.bias.fill_(math.log(math.e - 1))
        mixer.x_proj.weight[2 + states :, inner - 1] = 1 / level
        mixer.D.zero_()
        forget = 30.0
        if by == "state":
            mixer.x_proj.weight[2 : 2 + states, inner - 1] = torch.tensor([1.0, -9.0, 8.0]) / level
            rates = torch.tensor([0.95, 0.05, math.exp(-forget)]).repeat(inner, 1)
            rates[:4] = torch.tensor([0.3, 0.1, math.exp(-forget)])
            rates[4:8] = 0.5
            mixer.A_log.copy_((-rates.log()).log())
        elif by == "counting":
            mixer.x_proj.weight[2, inner - 1] = 1 / level
            mixer.A_log.fill_(math.log(forget))
            mixer.A_log[:4] = math.log(1e-6)
            mixer.A_log[4:8] = math.log(math.log(2))
        else:
            mixer.x_proj.weight[2, inner - 1] = 1 / level
            mixer.A_log.fill_(math.log(forget))
            mixer.conv1d.weight[:4, 0, -1] = 0
            mixer.conv1d.weight[:4, 0, -2] = 1
    return model


def induction_mamba2() -> nn.Module:
    """One Mamba-2 layer of six heads whose head 2 is an exact induction head; the others forget at once."""
    from transformers import Mamba2Config, Mamba2ForCausalLM

    width, heads, size = 60, 6, TOKENS
    inner = heads * size
    config = Mamba2Config(
        vocab_size=TOKENS,
        hidden_size=width,
        num_heads=heads,
        head_dim=size,
        state_size=TOKENS,
        num_hidden_layers=1,
        expand=2,
        n_groups=1,
        conv_kernel=4,
        chunk_size=16,
        use_bias=False,
        use_conv_bias=True,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    model = blank(Mamba2ForCausalLM(config))
    constant, copied = TOKENS, TOKENS + 1
    gain = math.sqrt(width / 2)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        _one_hot(model.backbone.embeddings.weight, model.lm_head.weight, constant, copied)
        mixer = model.backbone.layers[0].mixer
        mixer.in_proj.weight[:inner, constant] = 4 / gain
        values = range(inner + 2 * size, inner + 3 * size)
        keys = range(2 * inner, 2 * inner + TOKENS)
        queries = range(keys.stop, keys.stop + TOKENS)
        mixer.conv1d.weight[:, 0, -1] = 1
        mixer.conv1d.weight[keys.start - inner : keys.stop - inner, 0, -1] = 0
        mixer.conv1d.weight[keys.start - inner : keys.stop - inner, 0, -2] = 1
        mixer.dt_bias.fill_(math.log(math.e - 1))
        mixer.A_log.fill_(2.5)
        mixer.A_log[2] = -14
        # The other heads pass the current token on, weakly, to where nothing reads.
        mixer.D.fill_(0.05)
        mixer.D[2] = 0
        part = mixer.in_proj.weight[inner : 2 * inner, :TOKENS]
        part.copy_(torch.randn(part.shape, generator=random) / gain)
        mixer.in_proj.weight[values.start : values.stop] = 0
        for i in range(TOKENS):
            for row in (values[i], keys[i], queries[i]):
                mixer.in_proj.weight[row, i] = 4 / gain
            mixer.out_proj.weight[copied + i, 2 * size + i] = 0.5
    return model


def _one_hot(embedding: Tensor, unembedding: Tensor, constant: int, copied: int) -> None:
    """Tokens are one-hot beside a constant 1, and the logits read the `TOKENS` dimensions from `copied` on."""
    for i in range(TOKENS):
        embedding[i, i] = 1
        embedding[i, constant] = 1
        unembedding[i, copied + i] = 5
