"""Search strategies: what to try next.

The contract:    :mod:`strategies.base`
Implementations: :mod:`strategies.random_search`, :mod:`strategies.evolution`, :mod:`strategies.local`,
                 :mod:`strategies.reinforcement`, :mod:`strategies.progressive`, :mod:`strategies.guided`
Objectives:      :mod:`strategies.objectives`, by which the tournaments of evolution are won
By name:         :mod:`strategies.catalogue`
"""
