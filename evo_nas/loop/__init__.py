"""The parts of the loop of a search: its listeners, the calls of its strategy, the race of its paused trainings."""
