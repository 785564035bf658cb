"""Python that makes the numbers of the Attention page."""

from __future__ import annotations

from workbench.app.views.attention.choosing import HeadChoice
from workbench.app.views.scripts import script

_WEIGHTS = "from workbench.probes.weights import output_weights"


def head_code(source: str, prompt: str, choice: HeadChoice) -> str:
    """Python for `head_view`: `values`, ``[time, time]``."""
    lines = [_attention(choice)]
    if choice.measure == "written":
        lines += [_output(choice), f"values = attention.written_norms({choice.head}, output=W_O)[0]  # [time, time]"]
    else:
        lines.append(f"values = attention.dense(heads={choice.head})[0, 0].detach()  # rows read from columns")
        if choice.measure == "share":
            lines.append("values = values.abs() / values.abs().sum(-1, keepdim=True)")
    lines.append("error = attention.check()  # relative error against the layer's own output")
    return script(source, prompt, "\n".join(lines), _WEIGHTS if choice.measure == "written" else "")


def path_code(source: str, prompt: str, choice: HeadChoice, row: int, column: int) -> str:
    """Python for `value_path`: `weight`, `vector` and `effect`, ``[vocabulary]``."""
    body = "\n".join(
        [
            _attention(choice),
            f"weight = attention.pairs({row}, {column}, heads={choice.head})[0, 0, 0].detach()",
            _output(choice),
            f"vector = attention.written([{row}], [{column}], {choice.head})[0, 0].detach() @ W_O  # into the stream",
            "logits, cache = model.run_with_cache(tokens)",
            f"effects = cache.vocabulary_attrs(vector[None, None, None], pos_slice=slice({row}, {row + 1}))",
            "effect = effects.detach()[0, 0, 0]",
            "effect = effect - effect.mean()  # what raises all logits alike changes no probability",
            "best = effect.topk(8).indices",
            "print([(model.to_string([int(token)]), float(effect[token])) for token in best])",
        ]
    )
    return script(source, prompt, body, _WEIGHTS)


def statistics_code(source: str, prompt: str, measure: str) -> str:
    """Python for `head_statistics`: `table`, one row a head."""
    return script(
        source,
        prompt,
        "found = model.attention_statistics(\n"
        '    tokens, ["entropy", "mean_distance_by_mass", "mass"], per_token=False\n'
        ")\n"
        "table = found.to_pandas()  # one row a head, averages over the tokens\n"
        f"figure = found.plot({measure!r})",
    )


def _attention(choice: HeadChoice) -> str:
    more = (f", scope={choice.scope!r}" if choice.scope != "core" else "") + (
        f", mixer={choice.mixer}" if choice.mixer else ""
    )
    return f"attention = model.implicit_attention(tokens, layer={choice.layer}{more})"


def _output(choice: HeadChoice) -> str:
    weights = f"output_weights(model, {choice.layer}{f', {choice.mixer}' if choice.mixer else ''})"
    if choice.scope == "core":
        return f"W_O = {weights}[{choice.head}]  # [value, d_model]"
    return (
        f"W_O = {weights}\n"
        f'by_head = attention.unit == "head"\n'
        f"W_O = W_O[{choice.head}] if by_head else W_O.flatten(0, 1)[{choice.head} : {choice.head + 1}]"
    )
