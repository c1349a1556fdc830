"""What belongs to the loop of a search: who listens to it, and which paused trainings go on."""
