"""Judging autoencoders: on text beside baselines, on words whose letters are known, on data whose truth is known."""

from workbench.saes.judging.absorption import ConceptAbsorption, absorption
from workbench.saes.judging.baselines import BASELINES, baseline, constant
from workbench.saes.judging.figures import judgement_figure
from workbench.saes.judging.judge import judge_sae
from workbench.saes.judging.judgement import MEASURES, Judgement, Measured
from workbench.saes.judging.letters import LetterAbsorption, first_letter_absorption
from workbench.saes.judging.reading import token_windows
from workbench.saes.judging.recovery import Recovery, judge_recovery, synthetic_batches
from workbench.saes.judging.reference import Reference, read_reference
from workbench.saes.judging.sparse_probing import probe_features
from workbench.saes.judging.words import labelled_words, vocabulary
from workbench.saes.site import read_vectors

__all__ = [
    "BASELINES",
    "MEASURES",
    "ConceptAbsorption",
    "Judgement",
    "LetterAbsorption",
    "Measured",
    "Recovery",
    "Reference",
    "absorption",
    "baseline",
    "constant",
    "first_letter_absorption",
    "judge_recovery",
    "judge_sae",
    "judgement_figure",
    "labelled_words",
    "probe_features",
    "read_reference",
    "read_vectors",
    "synthetic_batches",
    "token_windows",
    "vocabulary",
]
