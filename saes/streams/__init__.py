"""Activations of any hook from any text: streamed in shuffled batches, or kept in files."""

from workbench.saes.streams.datasets import DatasetTexts
from workbench.saes.streams.documents import Documents
from workbench.saes.streams.files import TextFiles
from workbench.saes.streams.fingerprint import weights_fingerprint
from workbench.saes.streams.reading import Reading, Rows, read_rows
from workbench.saes.streams.source import SourceLike, TextSource, TokenBatch, as_source
from workbench.saes.streams.stream import ActivationStream, JointActivationStream, activation_stream

__all__ = [
    "ActivationStream",
    "DatasetTexts",
    "Documents",
    "JointActivationStream",
    "Reading",
    "Rows",
    "SourceLike",
    "TextFiles",
    "TextSource",
    "TokenBatch",
    "activation_stream",
    "as_source",
    "read_rows",
    "weights_fingerprint",
]
