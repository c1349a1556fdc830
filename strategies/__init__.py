"""Search strategies: what to try next.

The contract:    :mod:`strategies.base`
Implementations: :mod:`strategies.random_search`, :mod:`strategies.evolution`, :mod:`strategies.reinforcement`
By name:         :mod:`strategies.catalogue`
"""
