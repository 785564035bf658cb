import inspect

import pytest

from workbench.errors import InputError
from workbench.tasks import describe_task, make_task, register_task, repeated_random_tokens, task_names, task_table


def test_every_task_says_what_it_is_and_what_each_option_does() -> None:
    for name in task_names():
        described = describe_task(name)
        assert described.name == name
        assert described.summary.endswith((".", "?", ":")), name
        assert described.measures, f"{name} does not say what it measures"
        without = [option.name for option in described.options if not option.text]
        assert not without, f"{name} says nothing of {without}"


def test_options_are_those_of_the_generator_with_its_defaults() -> None:
    described = describe_task("repeated_random_tokens")
    parameters = list(inspect.signature(repeated_random_tokens).parameters.values())[1:]
    assert [option.name for option in described.options] == [parameter.name for parameter in parameters]
    found = {option.name: option for option in described.options}
    assert (found["block"].default, found["block"].kind, found["block"].required) == (50, "int", False)
    assert found["bos"].kind == "bool | int | None"
    # Written over two lines, told in one.
    assert found["distinct"].text.startswith("no token twice within a block, so that every source position is unique.")
    assert found["distinct"].text.endswith("may lie elsewhere too.")
    assert described.summary == "Random tokens, repeated."
    assert described.measures == "induction, copying"
    table = described.table()
    assert table.set_index("option").loc["copies", "default"] == "2"


def test_the_listing_has_a_row_a_task() -> None:
    table = task_table()
    assert table["task"].tolist() == task_names() == sorted(task_names())
    assert table.set_index("task").loc["copying", "measures"] == "length generalisation of copying"


def test_a_required_option_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.tasks.registry._TASKS", {})

    @register_task("made_up", measures="nothing")
    def made_up(vocabulary, size, *, batch: int = 3):  # type: ignore[no-untyped-def]
        """Nothing at all.

        Args:
            vocabulary: a size.
            size, batch: numbers.
        """

    size, batch = describe_task("made_up").options
    assert (size.required, size.kind, size.text) == (True, "Any", "numbers.")
    assert (batch.required, batch.default) == (False, 3)
    assert describe_task("made_up").table()["default"].tolist() == ["required", "3"]
    with pytest.raises(InputError, match="'made_up': missing a required argument: 'size'"):
        make_task("made_up", 10)


def test_a_misspelt_task_or_option_gets_the_names_there_are() -> None:
    with pytest.raises(InputError, match="No task is called 'copyng'; nearest: copying"):
        make_task("copyng", 10)
    with pytest.raises(InputError, match="No task is called 'copyng'"):
        describe_task("copyng")
    with pytest.raises(InputError) as refused:
        make_task("X", 10)
    assert str(refused.value) == f"No task is called 'X'; `workbench task list` names all {len(task_names())}."
    with pytest.raises(InputError, match="'copying' has no option 'lenght'; there is: length, symbols"):
        make_task("copying", 10, lenght=3)
