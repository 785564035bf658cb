"""The zoo's mLSTM, with its short convolution and, as in xLSTM-7B, without."""

from __future__ import annotations

from tests.families.case import Case, zoo

CASES = {
    "zoo mlstm": Case(zoo("mlstm", n_heads=2, qk_dim=6, v_dim=8, initialisation="mimetic")),
    "zoo mlstm, no convolution": Case(zoo("mlstm", n_heads=2, qk_dim=10, v_dim=6, conv_kernel=0)),
}
