"""Activations of any hook from any text: streamed in shuffled batches, or kept in files."""

from workbench.saes.streams.datasets import DatasetTexts
from workbench.saes.streams.documents import Documents
from workbench.saes.streams.files import TextFiles
from workbench.saes.streams.fingerprint import weights_fingerprint
from workbench.saes.streams.reading import Reading, Rows, read_rows
from workbench.saes.streams.shard_reader import JointShardReader, ShardReader, Shards
from workbench.saes.streams.shards import write_shards
from workbench.saes.streams.source import SourceLike, TextSource, TokenBatch, as_source
from workbench.saes.streams.stream import ActivationStream, JointActivationStream, activation_stream
from workbench.saes.streams.subspace import Subspace, fit_basis

__all__ = [
    "ActivationStream",
    "DatasetTexts",
    "Documents",
    "JointActivationStream",
    "JointShardReader",
    "Reading",
    "Rows",
    "ShardReader",
    "Shards",
    "SourceLike",
    "Subspace",
    "TextFiles",
    "TextSource",
    "TokenBatch",
    "activation_stream",
    "as_source",
    "fit_basis",
    "read_rows",
    "weights_fingerprint",
    "write_shards",
]
