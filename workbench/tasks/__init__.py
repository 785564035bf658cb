"""Built-in tasks: seeded generators that return tokens, the positions that count and the correct answers."""

from workbench.tasks.base import NOT_SCORED, SHARED, Task
from workbench.tasks.copied_strings import copying
from workbench.tasks.evaluation import evaluate, sweep
from workbench.tasks.intervals import Interval, bootstrap_mean, bootstrap_means
from workbench.tasks.metrics import TaskScores, score_logits, score_model
from workbench.tasks.passkey import needle, passkey
from workbench.tasks.recall import associative_recall, multi_query_recall
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
from workbench.tasks.sets import SetDisjointness, set_disjointness
from workbench.tasks.text import TextTask, prompt_task
from workbench.tasks.vocabulary import Vocabulary

__all__ = [
    "NOT_SCORED",
    "SHARED",
    "Interval",
    "RepeatedTokens",
    "SetDisjointness",
    "Task",
    "TaskDescription",
    "TaskOption",
    "TaskScores",
    "TextTask",
    "Vocabulary",
    "associative_recall",
    "bootstrap_mean",
    "bootstrap_means",
    "copying",
    "describe_task",
    "evaluate",
    "make_task",
    "multi_query_recall",
    "needle",
    "passkey",
    "prompt_task",
    "register_task",
    "repeated_random_tokens",
    "score_logits",
    "score_model",
    "set_disjointness",
    "sweep",
    "task_names",
    "task_table",
]
