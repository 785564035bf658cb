# %% [markdown]
# # 1 · First look: attention and implicit attention of the same sentence
#
# **Question.** A Transformer's head has an attention pattern: a matrix that says which earlier tokens each token reads.
# A recurrent model keeps a state of fixed size instead, and never looks back. Does it have such a matrix, too? And if
# both models complete the same sentence, do they read the same token to do so?
#
# Change the line `MODEL = ...` to look at another model; nothing else needs to change. The answer at the end is that of
# the two models here; what is claimed below it is checked again on yours, claim by claim.

# %%
MODEL = "zoo:mamba2"  # a member of the zoo, a Hugging Face id, a folder, or a .gguf file
OTHER = "zoo:attention"  # a Transformer to compare it with

# %%
import pandas as pd
import torch

import workbench as wb
from workbench import Knockout
from workbench.figures import plain_figure, titled, token_label
from workbench.figures.colours import CONDITIONS
from workbench.report import Claims

torch.set_grad_enabled(False)
models = {name: wb.load(name) for name in (MODEL, OTHER)}
models[MODEL]

# %% [markdown]
# ## A sentence that can only be completed by looking back
#
# The second sentence repeats the first. What follows is "ship", and only the first sentence says so: with the second
# sentence alone, neither model has any reason to expect it.

# %%
FIRST = "The old captain sold the iron ship to a young farmer."
SECOND = " The old captain sold the iron"
ANSWER = " ship"


def probability(model, text):
    """Of the answer as the next token."""
    answer = int(model.to_tokens(ANSWER)[0, -1])
    return float(model(text)[0, -1].softmax(-1)[answer])


told = {name: probability(model, FIRST + SECOND) for name, model in models.items()}
untold = {name: probability(model, SECOND) for name, model in models.items()}
pd.DataFrame({"both sentences": told, "second alone": untold}).round(3)

# %% [markdown]
# ## One matrix a head, for both
#
# What a softmax head writes at token *t* is a weighted sum over earlier tokens *s*. What a recurrent head writes is one,
# too: the state is a sum of what was written into it, each part faded by the decays since. The weights are the *implicit
# attention* of the head. `check()` multiplies the matrix with the values and compares the product with what the layer
# really computed; the relative errors below are those of 32-bit arithmetic, so nothing is approximated.

# %%
matrices = {
    name: [
        model.implicit_attention(FIRST + SECOND, layer) for layer in range(model.cfg.n_layers)
    ]
    for name, model in models.items()
}
errors = {name: max(A.check() for A in layers) for name, layers in matrices.items()}
pd.DataFrame({"largest relative error of a layer": errors}).map("{:.0e}".format)

# %% [markdown]
# Which head reads "ship" most strongly from the last token, where it has to be said next? Recurrent entries have signs
# and do not add up to 1, so the table gives each entry's share of its row, sizes only: |A| over the sum of |A|.

# %%
tokens = {name: model.to_str_tokens(FIRST + SECOND) for name, model in models.items()}
source = {name: texts.index(ANSWER) for name, texts in tokens.items()}
last = {name: len(texts) - 1 for name, texts in tokens.items()}

rows = []
for name, layers in matrices.items():
    for layer, A in enumerate(layers):
        row = A.rows([last[name]])[0, :, 0].abs()  # [heads, sources]
        share = row[:, source[name]] / row.sum(-1)
        head = int(share.argmax())
        rows.append((name, layer, head, float(share[head])))
readers = pd.DataFrame(rows, columns=["model", "layer", "head", "share of the row on ship"])
readers = readers.sort_values("share of the row on ship", ascending=False, ignore_index=True)
readers.round(3)

# %% [markdown]
# How to read the two maps: the token of a row reads the token of a column; the stronger the colour, the more. The cells
# above the diagonal are the future. Look at the bottom row and its cell under "ship", and at the diagonal that it ends:
# every token of the second sentence reads the token *after* its own first occurrence.

# %%
best = readers.drop_duplicates("model").set_index("model")


def map_of(name):
    layer, head = int(best.layer[name]), int(best["head"][name])
    title = f"{name}, layer {layer}, head {head}: weight of the token read"
    return titled(matrices[name][layer].plot(head, tokens[name]), title, height=600, width=560)


map_of(MODEL)

# %%
map_of(OTHER)

# %% [markdown]
# ## Does it matter?
#
# A map shows where a head reads, not that anything depends on it. So cut one edge at a time: the last token goes on as
# if it could not read one earlier token, in all layers and heads, and everything else stays as it was.
#
# How to read the plot: each bar is the probability of "ship" without one edge. The dotted lines are the models as they
# are. A bar that ends below its line is an edge that the answer depends on.

# %%
cut = {}
for name, model in models.items():
    cut[name] = []
    for place in range(last[name]):
        with model.knocked_out(Knockout(sources=place, destinations=last[name])):
            cut[name].append(probability(model, FIRST + SECOND))

figure = plain_figure("token that the last token cannot read", "probability of “ship”")
for name, colour in zip(models, CONDITIONS[1:]):
    figure.add_bar(x=list(range(last[name])), y=cut[name], name=name, marker_color=colour)
    figure.add_hline(y=told[name], line={"dash": "dot", "color": colour})
labels = [token_label(text) for text in tokens[MODEL][:-1]]
figure.update_xaxes(tickvals=list(range(len(labels))), ticktext=labels, tickangle=-60)
figure.update_yaxes(range=[0, 1.02])
titled(figure, "Probability of the answer with one edge cut", height=420)

# %% [markdown]
# ## Answer
#
# Yes: a recurrent head has a matrix, and it is exact, to a relative error below one in a hundred thousand. Both models
# complete the sentence by reading the same token. `zoo:attention` says "ship" with a probability of 0.998, and its best
# head has 98 % of its row there. `zoo:mamba2` says it with 0.29, more than anything else, and its best head has 29 % of
# its row there, the rest being spread over nearly all that came before. In both, cutting this one edge brings the answer
# below 0.001, while without any other edge at least 0.83 and 0.23 are left. So the maps differ (one sharp; one spread
# out, with signs), and what the two models depend on does not.
#
# Not every edge that is read is needed: `zoo:mamba2` says "ship" with a probability of 0.86 once it cannot read the
# token before the last.

# %%
without = {name: cut[name][source[name]] for name in models}
others = {
    name: min(p for place, p in enumerate(cut[name][1:], 1) if place != source[name])
    for name in models
}
share = best["share of the row on ship"]

claims = Claims()
claims.add("The matrices are exact in 32-bit arithmetic.", max(errors.values()) < 1e-5)
claims.add(
    "Both models expect the answer only when the first sentence said it.",
    all(told[name] > 20 * untold[name] for name in models),
    told=told[MODEL],
    told_of_the_other=told[OTHER],
)
claims.add(
    "The Transformer's best head reads it more sharply than the recurrent model's.",
    share[OTHER] > 2 * share[MODEL],
    share=share[MODEL],
    share_of_the_other=share[OTHER],
)
claims.add(
    "Without the edge from that token the answer is gone, in both.",
    max(without.values()) < 0.001,
    bound=0.001,
)
claims.add(
    "The recurrent model does better without one of the tokens that it reads.",
    max(cut[MODEL]) > 2 * told[MODEL],
    best_without_one=max(cut[MODEL]),
)
claims.add(
    "No other single edge takes away more than a quarter of the probability.",
    all(others[name] > 0.75 * told[name] for name in models),
    least_without_another=others[MODEL],
    least_without_another_of_the_other=others[OTHER],
)
claims

# %% [markdown]
# ## Next question
#
# One head in one sentence is an anecdote. Are there heads whose *job* is to find what followed last time, in every
# family, and what is left of copying without them? That is [notebook 2](02-induction-heads.ipynb).
