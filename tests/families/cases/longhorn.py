"""Longhorn of the zoo: the released diagonal transition, and the full one."""

from tests.families.case import Case, zoo

CASES = {
    "longhorn": Case(zoo("longhorn", state_size=5)),
    "longhorn with full transition": Case(zoo("longhorn", transition="full", state_size=5, conv_kernel=3)),
}
