"""What a study's models read."""

from workbench.studies.inputs.prompt import Prompt, Split
from workbench.studies.inputs.reading import read_prompts

__all__ = ["Prompt", "Split", "read_prompts"]
