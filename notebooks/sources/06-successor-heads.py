# %% [markdown]
# # 6 · Successor heads and mod-10 features
#
# **Question.** Who knows that Tuesday follows Monday? In many language models one head does: what it writes,
# having read *Monday*, raises *Tuesday*, and it does so for months, letters and numbers alike. Numbers share
# directions for their last digit, the *mod-10 features*
# ([Gould et al. 2023](https://arxiv.org/abs/2312.09230)). Has this model such a head?
#
# A search that finds nothing is worth as much as what it would have found. So we also build three small
# models that know all successors, in ways that we chose, and search those.
#
# Change the line `MODEL = ...` to ask it of another model. The answer at the end is that of `zoo:attention`;
# what is claimed below it is checked again on yours, claim by claim.

# %%
MODEL = "zoo:attention"  # a Hugging Face id or a .gguf file that has read about weekdays works better

# %%
import pandas as pd
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

import workbench as wb
from workbench.figures import error_bars, plain_figure, titled
from workbench.probes.heads import edited_successors, find_heads, modular_features
from workbench.report import Claims
from workbench.tasks import evaluate
from workbench.tasks.ordinals import ORDINAL_CLASSES
from workbench.zoo import ZooConfig, ZooModel

model = wb.load(MODEL)

# %% [markdown]
# ## Can it count?
#
# "Monday, Tuesday, Wednesday," and the like: does the model prefer the next word to the one that it has just
# read, and to another of the same kind?
#
# **How to read it.** One bar a kind of word, with 95 % intervals over texts. There are two wrong answers, so
# a guess is right in a third of the texts; 1 is a model that counts.

# %%
counting = evaluate(model, "ordinals", batch=32)
preference = counting[counting["measure"] == "preference"]
figure = plain_figure("what is counted", "successor preferred (share of texts)")
figure.add_bar(
    x=preference["label"],
    y=preference["mean"],
    error_y=error_bars(preference["mean"], preference["low"], preference["high"]),
    marker_color="#0072B2",
)
titled(figure.update_yaxes(range=[0, 1]), f"Counting on, {MODEL}", height=340)

# %% [markdown]
# ## Three models that know successors
#
# Each learns 142 pairs by heart (*Monday* gives *Tuesday*, *41* gives *42*), with two layers of one head
# each.
#
# * `one way`: all that lets the answer pass are the first MLP and the head behind it. The other two parts
#   write nothing. Its head **must** be a successor head.
# * `digits`: the same, but the vectors of numbers are made of one for the tens and one for the last digit,
#   as in a tokenizer that spells numbers out. Its mod-10 features **are** there.
# * `free`: nothing is taken away. It may know successors wherever it likes.

# %%
CLASSES = ("numbers", "months", "weekdays", "letters")
words = ["<s>", ",", *(word for name in CLASSES for word in ORDINAL_CLASSES[name].words)]
number_of = {word: number for number, word in enumerate(words)}
spelling = Tokenizer(models.WordLevel(number_of, unk_token="<s>"))
spelling.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=spelling, bos_token="<s>", pad_token="<s>")
pairs = [
    (number_of[word], number_of[following])
    for name in CLASSES
    for word, following in ORDINAL_CLASSES[name].pairs()
]
words_read, words_next = torch.tensor(pairs).T
texts = F.pad(words_read[:, None], (1, 0), value=number_of["<s>"])
texts = F.pad(texts, (0, 1), value=number_of[","])  # <s> Monday ,


def trained(one_way: bool, digits: bool, steps: int = 300, rate: float = 3e-3):
    torch.manual_seed(0)
    start = {
        "embedding_range": 0.5,
        "embedding_mean": 0.5,
        "final_norm": 0.3,
        "initializer_range": 0.05,
    }
    head = {"n_heads": 1, "initialisation": "previous-token"}
    config = ZooConfig(
        "attention", len(words), d_model=64, n_layers=2, d_mlp=128, mixer_options=head, **start
    )
    module = ZooModel(config)
    if digits:
        tens, ones = torch.randn(11, 64), torch.randn(10, 64)
        made = [tens[number // 10] + ones[number % 10] for number in range(1, 101)]
        places = [number_of[str(number)] for number in range(1, 101)]
        module.embed.weight.data[places] = 0.5 + 0.35 * torch.stack(made)
        module.embed.requires_grad_(False)
    if one_way:
        for silent in (module.blocks[0].mixer.o_proj, module.blocks[1].mlp.down_proj):
            torch.nn.init.zeros_(silent.weight)
            silent.requires_grad_(False)
    learnt = [weight for weight in module.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=rate, weight_decay=0.01)
    for step in range(steps):
        loss = F.cross_entropy(module(texts).logits[:, -1], words_next)
        optimiser.param_groups[0]["lr"] = rate * min(1, (step + 1) / 50) * (1 - step / steps)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
    return wb.load(module, tokenizer=tokenizer)


built = {
    "one way": trained(True, False),
    "digits": trained(True, True),
    "free": trained(False, False),
}
knows = {
    name: float((each(texts)[:, -1].argmax(-1) == words_next).double().mean())
    for name, each in built.items()
}
pd.Series(knows, name="successors known (share)").to_frame()

# %% [markdown]
# ## Which heads are successor heads?
#
# The score is the share of words for which a head, having read the word, raises the successor more than any
# other word of its kind. The paper lets the head read what the first MLP makes of a word. In a run the head
# reads the word's embedding as well; `embedding=True` lets it.
#
# **How to read it.** For each model its best head, read in both ways; the black dash is what the head scores
# with successors exchanged for random words. `one way` and `digits` are the control: a score near 1 is right.

# %%
all_models = {**built, MODEL.removeprefix("zoo:"): model}
NAMES = {False: "MLP alone (the paper's)", True: "embedding and MLP"}
best = pd.DataFrame(
    {"model": name, "reads": NAMES[embedding], **heads.iloc[0].to_dict()}
    for name, each in all_models.items()
    for embedding in NAMES
    for heads in [find_heads(each, "successor", embedding=embedding)]
)
figure = plain_figure("model", "successor score of its best head (share of words)")
for number, (reads, rows) in enumerate(best.groupby("reads", sort=False)):
    x = [place + 0.36 * (number - 0.5) for place in range(len(rows))]
    bars = error_bars(rows["score"], rows["low"], rows["high"])
    colour = ("#7F7F7F", "#0072B2")[number]
    figure.add_bar(
        x=x, y=rows["score"], error_y=bars, name=reads, marker_color=colour, width=0.34
    )
    dash = {"symbol": "line-ew", "size": 20, "line": {"width": 2, "color": "black"}}
    figure.add_scatter(x=x, y=rows["null"], mode="markers", marker=dash, showlegend=False)
figure.update_xaxes(tickvals=list(range(len(all_models))), ticktext=list(all_models))
titled(figure, "The best successor head of each model, read in two ways")

# %% [markdown]
# ## Are there mod-10 features, and does the head read them?
#
# Directions of the last digit are fitted to the words' vectors. Then the direction of each word is exchanged
# for that of another digit, and the best head is asked again: does it now name what follows the *new* digit?
#
# **How to read it.** `explained` is the share of the vectors' variation that the features account for, and
# `by chance` the same with digits dealt out at random. `moved` is the share of edits after which the head
# names what follows the new digit, and `control` the same with random directions of the same length.

# %%
rows = {}
for name, each in all_models.items():
    features = modular_features(each, embedding=True)
    head = edited_successors(each, features).sort_values("successor", ascending=False).iloc[0]
    rows[name] = {"explained": features.explained, "by chance": features.by_chance}
    rows[name] |= {"head": head["site"], "moved": head["moved"], "control": head["control"]}
mod10 = pd.DataFrame(rows).T
figure = plain_figure("model", "share")
for measure, colour in (
    ("explained", "#009E73"),
    ("by chance", "#B2DFD0"),
    ("moved", "#D55E00"),
    ("control", "#F2C6A8"),
):
    figure.add_bar(
        x=mod10.index, y=mod10[measure].astype(float), name=measure, marker_color=colour
    )
titled(
    figure.update_layout(barmode="group"),
    "Mod-10 features: what they explain, and edits that moved the answer",
)

# %% [markdown]
# ## Answer
#
# In `zoo:attention` nobody knows it. The model prefers the successor in at most 39 % of the texts, about what
# guessing gives, and its best head names 12 % of the successors, no more than its null: a million parameters
# that have read speeches have no use for weekdays.
#
# That is no failure of the search. Where a head *must* do it, it is found with a score of 1.00, and so are
# features of the last digit where they were put in: they explain 0.35 of the vectors (0.07 by chance), and exchanging
# them moves the answer in 58 % of the cases, random directions in 1 %.
#
# With `SmolLM2-135M-Instruct` in the one line, the notebook says something else: that model prefers nearly every
# successor, and yet its best head names one word in six, hardly more than its null.
#
# Two things to take along. The published reading, from the MLP alone, gives that same head 0.06: in models
# whose embeddings matter as much as their first MLP, look with `embedding=True`. And neither is needed for
# counting: `free` knows all successors with a weaker head, and `one way` without features of the last digit,
# whose exchange moves nothing there (0.00).

# %%
claims = Claims()
score = best.set_index(["model", "reads"])["score"]
paper, whole = NAMES.values()
other = list(all_models)[-1]
claims.add(
    "A head that must be a successor head is found, if its input is read as it is.",
    min(score["one way", whole], score["digits", whole]) > 0.9
    and score["one way", paper] < 0.3,
    one_way=score["one way", whole],
    digits=score["digits", whole],
    one_way_from_the_MLP_alone=score["one way", paper],
)
claims.add(
    "A model that may do as it likes knows as much, with less of a successor head.",
    knows["free"] > 0.99 and score["free", whole] < score["one way", whole] - 0.05,
    known=knows["free"],
)
moved = mod10["moved"].astype(float)
claims.add(
    "Mod-10 features that are there are found, and the head reads them.",
    moved["digits"] > 0.4
    and mod10.loc["digits", "explained"] > 3 * mod10.loc["digits", "by chance"],
    explained=mod10.loc["digits", "explained"],
    by_chance=mod10.loc["digits", "by chance"],
    moved=moved["digits"],
    control=mod10.loc["digits", "control"],
)
claims.add(
    "Successors do not need them.",
    moved["one way"] < 0.1,
    moved_in_one_way=moved["one way"],
    explained_in_one_way=mod10.loc["one way", "explained"],
)
claims.add(
    "The model that was loaded cannot count, and has no successor head.",
    preference["mean"].max() < 0.7 and score[other, paper] < 0.2 and score[other, whole] < 0.2,
    largest_preference=preference["mean"].max(),
    best_head=score[other, paper],
    best_head_with_embedding=score[other, whole],
)
claims

# %% [markdown]
# ## Next question
#
# Where *does* a model know successors whose heads do not? Exchange what each layer writes at the word
# between two texts that count different things (`workbench.probes.patching.activation_patching`), and see
# from which layer on the answer follows the exchanged word.
