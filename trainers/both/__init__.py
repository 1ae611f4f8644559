"""An agent and a language model trained in one trial, in turns. Only for searches."""
