"""Feature stores for others: one HTML file that works offline, and Neuronpedia's files."""

from workbench.saes.export.dashboard import ExportedDashboard, export_dashboard

__all__ = ["ExportedDashboard", "export_dashboard"]
