# %% [markdown]
# # 2 · Induction heads in a Transformer, a Mamba and a gated delta rule
#
# **Question.** An *induction head* finds the last place where the present token stood and reads what came after it
# ([Olsson et al. 2022](https://arxiv.org/abs/2209.11895)). It was found in Transformers, where looking back costs
# nothing. Do recurrent models, whose past is folded into a state, have such heads too? And is that what copying depends
# on, or only where it shows?
#
# Change the line `MODEL = ...` to ask it of another model. The answer at the end is that of the three models here; what
# is claimed below it is checked again on yours, claim by claim. Of a model of 135 million parameters it takes minutes.

# %%
MODEL = "zoo:mamba"  # a member of the zoo, a Hugging Face id, a folder, or a .gguf file
OTHERS = ["zoo:attention", "zoo:gated_delta"]

# %%
import math
import warnings

import numpy as np
import pandas as pd

import workbench as wb
from workbench.figures import plain_figure, titled
from workbench.figures.colours import CONDITIONS
from workbench.probes import ablate_top_k, find_heads, heads_of_other_kinds, top_heads
from workbench.report import Claims

models = {name: wb.load(name) for name in (MODEL, *OTHERS)}
colours = dict(zip(models, CONDITIONS[1:]))
models[MODEL]

# %% [markdown]
# ## Who reads the token after the last occurrence?
#
# Every model reads random tokens, and then the same tokens again. The score of a head is the share of its row, in the
# second copy, that lies on the token which came after this one in the first copy: for softmax a share of attention, for
# recurrent heads a share of the squared implicit attention of the whole mixer. In Mamba every channel has a matrix of its
# own and counts as a head. The two kinds of share are different numbers, so compare heads within a model and with their
# null, not an attention score with a recurrent one. The *null* is what a head of the same model reaches at wrong places,
# so a head is called an induction head when it scores above its own null.

# %%
tables = {name: find_heads(model, "induction", seeds=2) for name, model in models.items()}
found = {name: table[table.score > table.null] for name, table in tables.items()}
pd.DataFrame(
    {
        name: {
            "heads": len(table),
            "above their null": len(found[name]),
            "best head": table.site[0],
            "its score": f"{table.score[0]:.2f} ({table.low[0]:.2f} to {table.high[0]:.2f})",
            "its null": f"{table.null[0]:.2f}",
            "layers of those above 0.1": sorted(set(table.layer[table.score > 0.1])),
        }
        for name, table in tables.items()
    }
).T

# %% [markdown]
# How to read the plot: each dot is a head (in Mamba a channel), beside the others of its layer and model; the higher, the
# more of its row is where an induction head reads. Grey dots are not above their null.

# %%
figure = plain_figure("layer", "induction score (share of the row)")
random = np.random.default_rng(0)
for place, (name, table) in enumerate(tables.items()):
    x = table.layer + 0.25 * (place - 1) + random.uniform(-0.08, 0.08, len(table))
    above = table.score > table.null
    figure.add_scatter(
        x=x[above].round(3),
        y=table.score[above].round(4),
        text=table.site[above],
        name=name,
        mode="markers",
        marker={"color": colours[name], "size": 6, "opacity": 0.7},
    )
    figure.add_scatter(
        x=x[~above].round(3),
        y=table.score[~above].round(4),
        text=table.site[~above],
        name=f"{name}, not above the null",
        mode="markers",
        showlegend=False,
        marker={"color": CONDITIONS[0], "size": 4, "opacity": 0.4},
    )
figure.update_xaxes(dtick=1)
titled(figure, "Induction scores of all heads, layer by layer")

# %% [markdown]
# ## What is left of copying without them?
#
# A score says where a head reads. Whether copying depends on it, only an ablation tells. The best heads are replaced by
# their mean over positions and texts, more and more of them, and the second copy is scored: the share of its tokens that
# are predicted. Beside them, as many others of the same layers where there are enough, else of the nearest; heads of
# another known kind (previous-token heads, for example, which induction heads are built on) are left alone there,
# because losing those breaks copying for another reason. Where too few others are left, the best go alone.

# %%
# In a layer of four heads there are few sets of others to draw: the table says how many it took.
warnings.filterwarnings("ignore", message="Only .* random set|Too few other heads")

KINDS = ("previous_token", "current_token", "duplicate_token", "first_token")
steps = []
for name, model in models.items():
    kinds = [find_heads(model, kind, seeds=1) for kind in KINDS]
    spared = heads_of_other_kinds(kinds, "induction")
    for share in (0.25, 0.5, 0.75, 1.0):
        k = max(1, round(share * len(found[name])))
        if (name, k) in {(step["model"], step["heads"]) for step in steps}:
            continue
        left = set(tables[name].site) - set(top_heads(tables[name], k).site) - set(spared)
        draws = 4 if len(left) >= k else 0
        effect = ablate_top_k(model, tables[name], k=k, draws=draws, exclude=spared)
        accuracy = effect.set_index("condition").accuracy_second
        steps.append(
            {
                "model": name,
                "heads": k,
                "share of those found": k / len(found[name]),
                "intact": accuracy["baseline"],
                "without the best": accuracy["top"],
                "without others": accuracy["random"] if draws else math.nan,
                "others drawn": effect.heads.iloc[-1] if draws else "too few left",
            }
        )
steps = pd.DataFrame(steps)
steps.round(2)

# %% [markdown]
# How to read the plot: from left to right more and more of the induction heads are gone. Solid lines are without the best
# of them, dotted ones without as many others. A gap between the two is what these heads do and others do not.

# %%
figure = plain_figure(
    "share of the induction heads ablated", "tokens of the second copy predicted"
)
for name, rows in steps.groupby("model", sort=False):
    shares = [0, *rows["share of those found"]]
    for column, dash in (("without the best", "solid"), ("without others", "dot")):
        figure.add_scatter(
            x=shares,
            y=[rows.intact.iloc[0], *rows[column]],
            name=name,
            mode="lines+markers",
            showlegend=dash == "solid",
            line={"color": colours[name], "dash": dash},
        )
figure.update_xaxes(tickformat=".0%")
figure.update_yaxes(tickformat=".0%", range=[-0.03, 1.05])
titled(figure, "Copying without induction heads, and without as many others", height=460)

# %% [markdown]
# ## Answer
#
# Yes, all three have them, and each in one layer: the Transformer in layer 1, all four heads (best 0.95); the gated delta
# rule in layer 1, both heads (best 0.36); the Mamba in layer 0, where 188 of 1,024 channels are above their null (best
# 0.36) and share the work. Copying depends on them: without all of them the second copy is predicted with 0 %, 0 % and
# 0 %, and without as many others with 99 %, 99 % and 80 % (intact: 99 %, 99 % and 82 %).
#
# Single heads matter less than their scores suggest. Without its best head, the Transformer still copies 97 %, no less
# than without another one. The Mamba loses more: without the best quarter of its channels it copies 26 %.
#
# What this does not show: with four heads a layer there are between one and four sets of others, so these differences
# come without a p-value; and tokens at random are the task that such heads are defined by, not the text they are used on.

# %%
whole = steps[steps["share of those found"] == 1].set_index("model")
first = steps.drop_duplicates("model").set_index("model")
best = {name: table.score[0] for name, table in tables.items()}
attention, delta = OTHERS

claims = Claims()
claims.add(
    "All three have heads far above their null.",
    all(table.score[0] > 5 * table.null[0] for table in tables.values()),
    best=best[MODEL],
    best_of_attention=best[attention],
    best_of_gated_delta=best[delta],
)
claims.add(
    "Each has them in one layer.",
    all(table.layer[table.score > 0.1].nunique() == 1 for table in tables.values()),
)
claims.add(
    f"In {MODEL} the work is spread over many heads or channels.",
    len(found[MODEL]) > 50,
    channels=len(tables[MODEL]),
    above_their_null=len(found[MODEL]),
    left_without_a_quarter=first["without the best"][MODEL],
)
claims.add(
    "Without them copying is gone.",
    whole["without the best"].max() < 0.005,
    left=whole["without the best"].max(),
)
claims.add(
    "Without as many others it is not.",
    (whole["without others"] > 0.9 * whole.intact).all(),
    intact=whole.intact[MODEL],
    without_others=whole["without others"][MODEL],
    attention_intact=whole.intact[attention],
    attention=whole["without others"][attention],
    gated_delta_intact=whole.intact[delta],
    gated_delta=whole["without others"][delta],
)
claims.add(
    "The best head of the Transformer alone is no loss that another head would not be.",
    first["without the best"][attention] >= first["without others"][attention] - 0.02,
    without_the_best=first["without the best"][attention],
    without_another=first["without others"][attention],
)
claims

# %% [markdown]
# ## Next question
#
# These heads write what they copy into the residual stream in layer 0 or 1 of 4. Can the answer be read there at once, or
# do later layers have to translate it? [Notebook 3](03-tuned-lens.ipynb) reads the stream at every depth.
