"""A refused name is answered with what there is: all of it, or of many the nearest and where the rest is."""

from workbench.errors import FEW, offer


def test_few_choices_are_all_named() -> None:
    assert offer("meen", ["zero", "mean"]) == "there is: zero, mean"


def test_of_many_the_nearest_are_named_and_where_the_others_are() -> None:
    many = [*(f"task_{number}" for number in range(FEW)), "copying"]
    assert offer("copyng", many, "`workbench task list`") == "nearest: copying; `workbench task list` names all 9"
    assert offer("zzz", many, "`workbench task list`") == "`workbench task list` names all 9"
    assert offer("zzz", many) == f"there is: {', '.join(many)}"
