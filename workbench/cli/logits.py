"""``workbench logits``: which head, MLP or embedding put how much into an answer's logit."""

from __future__ import annotations

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, facts, records


def logits(
    model: options.ModelArgument,
    prompt: options.PromptArgument,
    answer: options.Answer = None,
    instead: options.Instead = None,
    position: options.Position = -1,
    top: options.Top = 10,
    group: options.Group = 1,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Attribute a logit to heads, MLPs and embeddings: what each writes into it directly, past all later layers.

    Example: workbench logits zoo:attention "one two three one two" --answer " three"
    """
    output = Output(json_file, html_file)
    opened = open_model(output, model, loading)
    from rich.table import Table

    from workbench.direct_logits.table import logit_parts
    from workbench.figures import visible_token

    likeliest = int(opened(prompt)[0, position].argmax()) if answer is None else answer
    parts = logit_parts(opened, prompt, likeliest, instead, position=position, group=group)
    called = visible_token(str(opened.to_string([likeliest])) if isinstance(likeliest, int) else likeliest)
    what = f"the logit of {called!r}" + ("" if instead is None else f" over {visible_token(instead)!r}")
    table = parts.table()
    order = table["direct"].abs().sort_values(ascending=False).index
    shown = Table()
    shown.add_column("site")
    for column in ("direct", "share"):
        shown.add_column(column, justify="right")
    for row in records(table.loc[order].head(top)):
        shown.add_row(str(row["site"]), f"{row['direct']:+.3f}", f"{row['share']:+.1%}")
    total = float(parts.total.mean())
    output.console.print(f"{opened.cfg.model_name}: {what} is {total:.3f}", highlight=False, markup=False)
    output.console.print(shown)
    output.console.print(f"The {len(table)} parts add up to it within {parts.check():.1e}.", highlight=False)
    result = table[["site", "direct", "share"]]
    output.save(
        {"model": summary(opened), "prompt": prompt, "answer": called, "total": total, "parts": records(result)}
    )
    if html_file is not None:
        from workbench.report import Code, Page, Plot

        caption = "What each part writes into it, in the order of the model."
        lead = f"{what[0].upper()}{what[1:]} is {total:.3f}."
        title = f"Direct logit attribution in {opened.cfg.model_name}"
        output.write_page(Page(title, lead, [Plot(parts.figure(), caption), Code(prompt)], facts()))
