"""Direct logit attribution: what each part of a model writes into the residual stream, and from there into a logit.

A cache has the stacks (`workbench.direct_logits.stacks`); `workbench.direct_logits.table.logit_parts` asks the whole
question in one call.
"""
