"""Words that tasks are written with."""

from __future__ import annotations

from collections.abc import Sequence

NOUNS = (
    "apple", "arm", "bag", "ball", "basket", "bell", "boat", "book", "bottle", "box", "bread", "bridge", "bus", "cake",
    "camera", "candle", "car", "castle", "chair", "cheese", "church", "clock", "cloud", "coat", "coin", "cup", "desk",
    "doctor", "dog", "door", "dress", "drum", "egg", "engine", "farm", "feather", "finger", "fire", "fish", "flag",
    "flower", "forest", "garden", "gate", "glass", "guitar", "hammer", "hat", "hill", "horse", "house", "island",
    "jacket", "key", "king", "kitchen", "ladder", "lake", "lamp", "leaf", "letter", "lion", "map", "mirror", "moon",
    "mountain", "mouse", "needle", "nose", "ocean", "office", "onion", "paper", "pencil", "phone", "piano", "pipe",
    "plate", "pocket", "queen", "rain", "ring", "river", "road", "roof", "rope", "salt", "school", "ship", "shirt",
    "shoe", "snow", "soap", "spoon", "star", "station", "stone", "storm", "table", "teacher", "tiger", "tower", "train",
    "tree", "wall", "watch", "wheel", "window", "wolf",
)  # fmt: skip

PERSONS = (
    "Anna", "Ben", "Clara", "David", "Emma", "Frank", "George", "Helen", "Ivan", "James", "Kate", "Laura", "Martin",
    "Nina", "Oscar", "Peter", "Rosa", "Simon", "Thomas", "Walter",
)  # fmt: skip

CITIES = (
    "Paris", "London", "Berlin", "Rome", "Madrid", "Vienna", "Moscow", "Tokyo", "Delhi", "Cairo", "Athens", "Dublin",
    "Oslo", "Prague", "Lisbon", "Boston", "Chicago", "Sydney", "Toronto", "Seattle",
)  # fmt: skip

NUMBER_WORDS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def listed(words: Sequence[str], last: str = "and") -> str:
    """``a, b and c``."""
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
