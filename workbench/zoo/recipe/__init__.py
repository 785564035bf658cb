"""How the zoo is made: corpus, tokenizer, mixture of tasks, optimiser, training, evaluation, card, shipping."""
