"""Prompts to begin with."""

PROMPT = "The state of the Union is strong because our people are strong. The state of the Union is"
"""What the pages open on: the second half repeats the first, so heads that copy have something to copy."""

EXAMPLES = {
    "A sentence that comes again": PROMPT,
    "Who gave to whom": "When Mary and John went to the store, John gave a drink to",
    "Counting": "one two three four five six seven eight nine ten eleven",
    "A list with a rule": "red apple, green pear, red cherry, green lime, red",
    "A bracket to close": "The law (which the Congress passed in 1935, after years of debate) has",
    "Code": 'def add(a, b):\n    return a + b\n\nprint("2 + 3 =", add(2, 3))',
}
"""By what they show."""
