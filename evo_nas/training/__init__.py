"""Training of networks: the loop, its steps, recipes, devices, and trainings that resume."""
