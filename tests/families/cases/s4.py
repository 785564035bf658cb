"""S4 and S4D of the zoo."""

from tests.families.case import Case, zoo

CASES = {
    "s4": Case(zoo("s4", state_size=6, lags=24)),
    "s4d": Case(zoo("s4", kind="s4d", state_size=4, lags=24)),
}
