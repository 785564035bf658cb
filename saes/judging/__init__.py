"""Judging autoencoders: on text beside baselines, on words whose letters are known, on data whose truth is known."""

from workbench.saes.judging.baselines import BASELINES, baseline, constant
from workbench.saes.judging.judge import judge_sae
from workbench.saes.judging.judgement import MEASURES, Judgement, Measured
from workbench.saes.judging.reading import read_vectors, token_windows
from workbench.saes.judging.reference import Reference, read_reference

__all__ = [
    "BASELINES",
    "MEASURES",
    "Judgement",
    "Measured",
    "Reference",
    "baseline",
    "constant",
    "judge_sae",
    "read_reference",
    "read_vectors",
    "token_windows",
]
