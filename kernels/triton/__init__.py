"""Fused kernels in Triton, for a GPU. Importing this package imports no Triton; its modules do.

Every recurrent form is cut into chunks that act on their first state `S` and their values `V` by a few small maps:

    outputs = queries S + matrix V        last state = total S - erasers' (probes S) + keys' V

What a form is decides only how the maps are made (`products`, and for the delta rule `erasing`); running them,
forward and backward, and reading statistics from them is one set of kernels for all forms.
"""
