# %% [markdown]
# # 5 · Retrieval heads and long context
#
# **Question.** In large Transformers a few *retrieval heads* fetch a fact from far back in a long text: while the model
# writes a token of it, the head's largest weight lies on that very token ([Wu et al.
# 2024](https://arxiv.org/abs/2404.15574)). A recurrent model must fetch it from a state of fixed size. Does it have such
# heads? Does retrieval depend on them? And how far back do they reach?
#
# Change the line `MODEL = ...` to ask it of another model. The answer at the end is that of the three models here; what
# is claimed below it is checked again on yours, claim by claim. Of a model of 135 million parameters it takes minutes.

# %%
MODEL = "zoo:mamba2"  # a member of the zoo, a Hugging Face id, a folder, or a .gguf file
OTHERS = ["zoo:attention", "zoo:gated_delta"]
HIDDEN = "segment"  # five tokens at random; "needle" hides a sentence, for models that can read a question

# %%
import warnings

import pandas as pd

import workbench as wb
from workbench.figures import plain_figure, titled
from workbench.figures.colours import CONDITIONS
from workbench.probes import ablate_top_k, find_heads, heads_of_other_kinds
from workbench.report import Claims

models = {name: wb.load(name) for name in (MODEL, *OTHERS)}
colours = dict(zip(models, CONDITIONS[1:]))
models[MODEL]

# %% [markdown]
# ## Who holds the needle while it is written?
#
# Something is hidden in a text that has nothing to do with it, and is asked for at the end. A head's score is the share
# of the hidden tokens that the model writes *while* that head's largest weight lies on that same token; heads above 0.1
# are called retrieval heads, as in the paper. The members of the zoo are too small for questions, so what is hidden is a
# run of random tokens, and the question is its first token.

# %%
options = {"haystack": HIDDEN, "depths": (0.1, 0.5, 0.9)}
tables = {
    name: find_heads(model, "retrieval", lengths=(64, 128), seeds=2, **options)
    for name, model in models.items()
}
found = {name: t[(t.score > 0.1) & (t.score > t.null)] for name, t in tables.items()}
induction = {name: find_heads(model, "induction", seeds=2) for name, model in models.items()}
shared = {
    name: len(set(heads.site) & set(induction[name].site[: len(heads)]))
    for name, heads in found.items()
}
pd.DataFrame(
    {
        name: {
            "written of what was hidden": f"{tables[name].attrs['recall']:.2f}",
            "heads": len(tables[name]),
            "retrieval heads": " ".join(heads.site),
            "best score": f"{heads.score.max():.2f}",
            "also the best induction heads": f"{shared[name]} of {len(heads)}",
        }
        for name, heads in found.items()
    }
).T

# %% [markdown]
# ## How far back do they reach, and what is left without them?
#
# The same task at growing lengths: as it is, with the retrieval heads replaced by their mean, and with as many other
# heads replaced (heads that read the previous token are spared there, because these feed the retrieval heads). All three
# models were trained on texts of 256 tokens.
#
# How to read the plot: solid lines are the models as they are, dotted ones without as many other heads, dashed ones
# without the retrieval heads. The higher, the more of the hidden tokens is right. The vertical line stands at 256 tokens,
# the length of the zoo's training texts; other models were trained on longer ones.

# %%
# In small layers there are few sets of others to draw: the table below says how many it took.
warnings.filterwarnings("ignore", message="Only .* random set|Too few other heads")

LENGTHS = (48, 96, 192, 256, 384, 512)
CONDITION = {"baseline": "intact", "top": "without the heads", "random": "without others"}
steps = []
for name, model in models.items():
    spared = heads_of_other_kinds([find_heads(model, "previous_token", seeds=1)], "retrieval")
    for length in LENGTHS:
        effect = ablate_top_k(
            model,
            tables[name],
            len(found[name]),
            draws=4,
            exclude=spared,
            haystack=HIDDEN,
            length=length,
        )
        accuracy = effect.set_index("condition").accuracy_answer.rename(CONDITION)
        drawn = effect.heads.iloc[-1]
        steps.append({"model": name, "length": length, **accuracy, "others drawn": drawn})
steps = pd.DataFrame(steps)

figure = plain_figure("length of the text (tokens)", "hidden tokens written correctly")
for name, rows in steps.groupby("model", sort=False):
    for condition, dash in zip(CONDITION.values(), ("solid", "dash", "dot")):
        figure.add_scatter(
            x=rows.length,
            y=rows[condition],
            name=name,
            showlegend=dash == "solid",
            mode="lines+markers",
            line={"color": colours[name], "dash": dash},
        )
figure.add_vline(x=256, line={"dash": "dot", "color": CONDITIONS[0]})
figure.update_yaxes(tickformat=".0%", range=[-0.03, 1.05])
titled(figure, "Retrieval at growing lengths, with and without retrieval heads", height=440)

# %%
steps.round(2)

# %% [markdown]
# ## Answer
#
# Yes, they have them, and retrieval depends on them: four heads in layer 0 of `zoo:mamba2`, four in layer 1 of
# `zoo:attention`, two in layer 1 of `zoo:gated_delta`. They are the best induction heads of notebook 2's kind, all of
# them. Without them nothing of what was hidden is written, at any length; without as many others, what the intact model
# writes. (That is stronger than in large models, whose retrieval heads are a few percent of all: a small model has no
# other way.)
#
# They reach as far as training went. Up to 192 tokens all three models write at least 97 % of what was hidden; at 256,
# where their training ended, 68 % to 88 %; at 512, 18 % to 30 %. The fixed size of the state is not what ends it: the
# Transformer, which keeps every token, falls as far, to 20 %.
#
# What this does not show: forty hidden tokens a point, five from each of eight texts, so a percentage in the middle is
# uncertain by ten to twenty points; and a run of random tokens is a harder thing to hide, and an easier one to ask for, than a sentence.

# %%
at = steps.set_index(["model", "length"])
intact = at.intact.unstack()

claims = Claims()
claims.add(
    "Every model has retrieval heads, and they are among its best induction heads.",
    all(len(heads) and shared[name] == len(heads) for name, heads in found.items()),
)
claims.add(
    "Without them nothing is retrieved, at any length.",
    at["without the heads"].max() < 0.05,
    most=at["without the heads"].max(),
)
claims.add(
    "Without as many others it is as before.",
    (at["without others"] > at.intact - 0.1).all(),
    largest_loss=(at.intact - at["without others"]).max(),
)
claims.add(
    "Nearly all is found up to three quarters of the length of training, little at twice that length.",
    intact[192].min() > 0.95 and intact[512].max() < 0.4,
    least_at_192=intact[192].min(),
    least_at_256=intact[256].min(),
    most_at_256=intact[256].max(),
    least_at_512=intact[512].min(),
    most_at_512=intact[512].max(),
    length_of_training=256,
    three_quarters=192,
    twice=512,
)
claims.add(
    "The Transformer falls as far as the recurrent models.",
    intact[512][OTHERS[0]] < intact[512].mean() + 0.1,
    attention_at_512=intact[512][OTHERS[0]],
)
claims

# %% [markdown]
# ## Next question
#
# Both kinds of model fail beyond the length they were trained on, but a recurrent one cannot blame its positions: what
# happens to its state there? [Notebook 7](07-recurrent-state.ipynb) looks at capacity, decay and collapse.
# Before that, [notebook 6](06-successor-heads.ipynb) asks for another kind of head, one that counts.
