"""Feature stores for others: one HTML file that works offline, and Neuronpedia's files."""

from workbench.saes.export.dashboard import ExportedDashboard, export_dashboard
from workbench.saes.export.neuronpedia import NeuronpediaExport, export_neuronpedia
from workbench.saes.export.reader import FeatureReader

__all__ = ["ExportedDashboard", "FeatureReader", "NeuronpediaExport", "export_dashboard", "export_neuronpedia"]
