"""Sparse autoencoders: activations, training, features, steering and comparison."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.saes.autoencoder import SaeConfig as SaeConfig
    from workbench.saes.autoencoder import SparseAutoencoder as SparseAutoencoder
    from workbench.saes.codebook import Bottleneck as Bottleneck
    from workbench.saes.codebook import Codebook as Codebook
    from workbench.saes.codebook import CodebookAutoencoder as CodebookAutoencoder
    from workbench.saes.codebook import code_table as code_table
    from workbench.saes.codebook import train_codebook as train_codebook
    from workbench.saes.codebook import train_with_codebooks as train_with_codebooks
    from workbench.saes.comparing import Matches as Matches
    from workbench.saes.comparing import SpaceComparison as SpaceComparison
    from workbench.saes.comparing import Units as Units
    from workbench.saes.comparing import compare_spaces as compare_spaces
    from workbench.saes.comparing import linear_cka as linear_cka
    from workbench.saes.comparing import match_features as match_features
    from workbench.saes.comparing import rsa as rsa
    from workbench.saes.comparing import svcca as svcca
    from workbench.saes.export import export_dashboard as export_dashboard
    from workbench.saes.export import export_neuronpedia as export_neuronpedia
    from workbench.saes.features import Example as Example
    from workbench.saes.features import FeatureQuery as FeatureQuery
    from workbench.saes.features import FeatureStore as FeatureStore
    from workbench.saes.features import Label as Label
    from workbench.saes.features import LabelStore as LabelStore
    from workbench.saes.features import collect_features as collect_features
    from workbench.saes.files import KeyMap as KeyMap
    from workbench.saes.files import load_sae as load_sae
    from workbench.saes.files import save_sae as save_sae
    from workbench.saes.geometry import CirclePatch as CirclePatch
    from workbench.saes.geometry import clustering_entropy as clustering_entropy
    from workbench.saes.geometry import fit_circle as fit_circle
    from workbench.saes.geometry import irreducible_features as irreducible_features
    from workbench.saes.geometry import lobes as lobes
    from workbench.saes.geometry import parallelograms as parallelograms
    from workbench.saes.geometry import read_co_occurrence as read_co_occurrence
    from workbench.saes.geometry import spectrum_slope as spectrum_slope
    from workbench.saes.judging import Judgement as Judgement
    from workbench.saes.judging import first_letter_absorption as first_letter_absorption
    from workbench.saes.judging import judge_recovery as judge_recovery
    from workbench.saes.judging import judge_sae as judge_sae
    from workbench.saes.judging import labelled_words as labelled_words
    from workbench.saes.judging import probe_features as probe_features
    from workbench.saes.site import VectorSite as VectorSite
    from workbench.saes.splice import Splice as Splice
    from workbench.saes.streams import ActivationStream as ActivationStream
    from workbench.saes.streams import DatasetTexts as DatasetTexts
    from workbench.saes.streams import JointActivationStream as JointActivationStream
    from workbench.saes.streams import JointShardReader as JointShardReader
    from workbench.saes.streams import ShardReader as ShardReader
    from workbench.saes.streams import Shards as Shards
    from workbench.saes.streams import Subspace as Subspace
    from workbench.saes.streams import TextFiles as TextFiles
    from workbench.saes.streams import TextSource as TextSource
    from workbench.saes.streams import TokenBatch as TokenBatch
    from workbench.saes.streams import activation_stream as activation_stream
    from workbench.saes.streams import fit_basis as fit_basis
    from workbench.saes.streams import read_rows as read_rows
    from workbench.saes.streams import weights_fingerprint as weights_fingerprint
    from workbench.saes.streams import write_shards as write_shards
    from workbench.saes.training import SaeTraining as SaeTraining
    from workbench.saes.training import SaeTrainingOptions as SaeTrainingOptions
    from workbench.saes.training import train_sae as train_sae
    from workbench.saes.training import training_figure as training_figure
    from workbench.saes.training import training_history as training_history
    from workbench.saes.using import FeatureCircuit as FeatureCircuit
    from workbench.saes.using import FeatureEdit as FeatureEdit
    from workbench.saes.using import Steering as Steering
    from workbench.saes.using import feature_circuit as feature_circuit
    from workbench.saes.using import find_repetition_features as find_repetition_features
    from workbench.saes.using import read_features as read_features
    from workbench.saes.using import repeated_ngrams as repeated_ngrams
    from workbench.saes.using import repetition_experiment as repetition_experiment
    from workbench.saes.using import steer_features as steer_features
    from workbench.saes.using import strengths_for as strengths_for

# Public name -> the module that defines it: nothing is imported before it is asked for.
PUBLIC = {
    "Bottleneck": "workbench.saes.codebook",
    "Codebook": "workbench.saes.codebook",
    "CodebookAutoencoder": "workbench.saes.codebook",
    "code_table": "workbench.saes.codebook",
    "train_codebook": "workbench.saes.codebook",
    "train_with_codebooks": "workbench.saes.codebook",
    "judge_sae": "workbench.saes.judging",
    "Judgement": "workbench.saes.judging",
    "first_letter_absorption": "workbench.saes.judging",
    "probe_features": "workbench.saes.judging",
    "judge_recovery": "workbench.saes.judging",
    "labelled_words": "workbench.saes.judging",
    "Matches": "workbench.saes.comparing",
    "SpaceComparison": "workbench.saes.comparing",
    "Units": "workbench.saes.comparing",
    "compare_spaces": "workbench.saes.comparing",
    "linear_cka": "workbench.saes.comparing",
    "match_features": "workbench.saes.comparing",
    "rsa": "workbench.saes.comparing",
    "svcca": "workbench.saes.comparing",
    "CirclePatch": "workbench.saes.geometry",
    "clustering_entropy": "workbench.saes.geometry",
    "fit_circle": "workbench.saes.geometry",
    "irreducible_features": "workbench.saes.geometry",
    "lobes": "workbench.saes.geometry",
    "parallelograms": "workbench.saes.geometry",
    "read_co_occurrence": "workbench.saes.geometry",
    "spectrum_slope": "workbench.saes.geometry",
    "JointShardReader": "workbench.saes.streams",
    "ShardReader": "workbench.saes.streams",
    "Shards": "workbench.saes.streams",
    "Subspace": "workbench.saes.streams",
    "fit_basis": "workbench.saes.streams",
    "write_shards": "workbench.saes.streams",
    "ActivationStream": "workbench.saes.streams",
    "DatasetTexts": "workbench.saes.streams",
    "JointActivationStream": "workbench.saes.streams",
    "TextFiles": "workbench.saes.streams",
    "TextSource": "workbench.saes.streams",
    "TokenBatch": "workbench.saes.streams",
    "activation_stream": "workbench.saes.streams",
    "read_rows": "workbench.saes.streams",
    "weights_fingerprint": "workbench.saes.streams",
    "Example": "workbench.saes.features",
    "FeatureQuery": "workbench.saes.features",
    "FeatureStore": "workbench.saes.features",
    "Label": "workbench.saes.features",
    "LabelStore": "workbench.saes.features",
    "collect_features": "workbench.saes.features",
    "KeyMap": "workbench.saes.files",
    "FeatureEdit": "workbench.saes.using",
    "find_repetition_features": "workbench.saes.using",
    "repetition_experiment": "workbench.saes.using",
    "export_neuronpedia": "workbench.saes.export",
    "export_dashboard": "workbench.saes.export",
    "FeatureCircuit": "workbench.saes.using",
    "feature_circuit": "workbench.saes.using",
    "SaeConfig": "workbench.saes.autoencoder",
    "SparseAutoencoder": "workbench.saes.autoencoder",
    "Splice": "workbench.saes.splice",
    "VectorSite": "workbench.saes.site",
    "SaeTraining": "workbench.saes.training",
    "SaeTrainingOptions": "workbench.saes.training",
    "train_sae": "workbench.saes.training",
    "training_figure": "workbench.saes.training",
    "training_history": "workbench.saes.training",
    "load_sae": "workbench.saes.files",
    "save_sae": "workbench.saes.files",
    "read_features": "workbench.saes.using",
    "steer_features": "workbench.saes.using",
    "strengths_for": "workbench.saes.using",
    "repeated_ngrams": "workbench.saes.using",
    "Steering": "workbench.saes.using",
}


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"workbench.saes has no public name {name!r}; it has {', '.join(sorted(PUBLIC))}.")
    value = getattr(import_module(PUBLIC[name]), name)
    globals()[name] = value  # the second look-up no longer comes here
    return value


def __dir__() -> list[str]:
    return sorted(PUBLIC)
