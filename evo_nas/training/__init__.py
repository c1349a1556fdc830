"""How a network is trained: the loop, its steps, recipes, devices, and trainings that resume."""
