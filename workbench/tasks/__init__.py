"""Built-in tasks: seeded generators that return tokens, the positions that count and the correct answers."""

from workbench.tasks.base import NOT_SCORED, Task
from workbench.tasks.evaluation import evaluate, sweep
from workbench.tasks.intervals import Interval, bootstrap_mean, bootstrap_means
from workbench.tasks.metrics import TaskScores, score_logits, score_model
from workbench.tasks.passkey import needle, passkey
from workbench.tasks.registry import (
    TaskDescription,
    TaskOption,
    describe_task,
    make_task,
    register_task,
    task_names,
    task_table,
)
from workbench.tasks.repeated import RepeatedTokens, repeated_random_tokens
from workbench.tasks.text import TextTask, prompt_task
from workbench.tasks.vocabulary import Vocabulary

__all__ = [
    "NOT_SCORED",
    "Interval",
    "RepeatedTokens",
    "Task",
    "TaskDescription",
    "TaskOption",
    "TaskScores",
    "TextTask",
    "Vocabulary",
    "bootstrap_mean",
    "bootstrap_means",
    "describe_task",
    "evaluate",
    "make_task",
    "needle",
    "passkey",
    "prompt_task",
    "register_task",
    "repeated_random_tokens",
    "score_logits",
    "score_model",
    "sweep",
    "task_names",
    "task_table",
]
