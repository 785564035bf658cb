"""Built-in tasks: seeded generators that return tokens, the positions that count and the correct answers."""

from workbench.tasks.base import NOT_SCORED, SHARED, Task
from workbench.tasks.bigrams import InContextBigrams, in_context_bigrams
from workbench.tasks.characters import counting_characters
from workbench.tasks.copied_strings import copying
from workbench.tasks.emissions import HiddenMarkov, hidden_markov
from workbench.tasks.evaluation import evaluate, sweep
from workbench.tasks.flip_flops import flip_flop
from workbench.tasks.functions import InContextFunctions, LinearRegression, linear_regression, sparse_parity
from workbench.tasks.garden_paths import garden_path_effect, garden_paths
from workbench.tasks.index_hints import parity
from workbench.tasks.intervals import Interval, bootstrap_mean, bootstrap_means
from workbench.tasks.knowledge import knowledge_conflict, quirky_answers
from workbench.tasks.knowledge_base import reversal, two_hop
from workbench.tasks.languages import InContextLanguages, in_context_languages
from workbench.tasks.large_machine import ManyStates, many_states
from workbench.tasks.metrics import TaskScores, score_logits, score_model, score_predictions, scores_table
from workbench.tasks.modular import calendar, modular_addition
from workbench.tasks.next_legal import bounded_dyck, star_free
from workbench.tasks.ngrams import in_context_ngrams, ngram_predictions
from workbench.tasks.noun_lists import laundry_list, list_recall, repeat_surprisal, repeated_noun_list
from workbench.tasks.order_recall import order_recall
from workbench.tasks.ordinals import ORDINAL_CLASSES, OrdinalClass, ordinals
from workbench.tasks.passages import PassageWriter
from workbench.tasks.passkey import needle, passkey
from workbench.tasks.quantiser import Quantiser
from workbench.tasks.readouts import dyck_balance, histogram, sort
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
from workbench.tasks.regular import even_pairs, modular_arithmetic, modular_sum
from workbench.tasks.repeated import RepeatedTokens, repeated_random_tokens
from workbench.tasks.repetition import repetition, self_reinforcement
from workbench.tasks.sets import SetDisjointness, set_disjointness
from workbench.tasks.switching import SwitchingSources, switching_sources
from workbench.tasks.text import TextTask, prompt_task, text_task
from workbench.tasks.timescales import delayed_match_to_sample, n_parity
from workbench.tasks.vectors import RegressionVectors, regression_vectors
from workbench.tasks.vocabulary import Vocabulary

__all__ = [
    "NOT_SCORED",
    "ORDINAL_CLASSES",
    "SHARED",
    "HiddenMarkov",
    "InContextBigrams",
    "InContextFunctions",
    "InContextLanguages",
    "Interval",
    "LinearRegression",
    "ManyStates",
    "OrdinalClass",
    "PassageWriter",
    "Quantiser",
    "RegressionVectors",
    "RepeatedTokens",
    "SetDisjointness",
    "SwitchingSources",
    "Task",
    "TaskDescription",
    "TaskOption",
    "TaskScores",
    "TextTask",
    "Vocabulary",
    "associative_recall",
    "bootstrap_mean",
    "bootstrap_means",
    "bounded_dyck",
    "calendar",
    "copying",
    "counting_characters",
    "delayed_match_to_sample",
    "describe_task",
    "dyck_balance",
    "evaluate",
    "even_pairs",
    "flip_flop",
    "garden_path_effect",
    "garden_paths",
    "hidden_markov",
    "histogram",
    "in_context_bigrams",
    "in_context_languages",
    "in_context_ngrams",
    "knowledge_conflict",
    "laundry_list",
    "linear_regression",
    "list_recall",
    "make_task",
    "many_states",
    "modular_addition",
    "modular_arithmetic",
    "modular_sum",
    "multi_query_recall",
    "n_parity",
    "needle",
    "ngram_predictions",
    "order_recall",
    "ordinals",
    "parity",
    "passkey",
    "prompt_task",
    "quirky_answers",
    "register_task",
    "regression_vectors",
    "repeat_surprisal",
    "repeated_noun_list",
    "repeated_random_tokens",
    "repetition",
    "reversal",
    "score_logits",
    "score_model",
    "score_predictions",
    "scores_table",
    "self_reinforcement",
    "set_disjointness",
    "sort",
    "sparse_parity",
    "star_free",
    "sweep",
    "switching_sources",
    "task_names",
    "task_table",
    "text_task",
    "two_hop",
]
