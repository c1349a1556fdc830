"""The proxy trainer: a small network of the cells, trained for a few epochs, stands for the large one.

Evaluator:  :mod:`evo_nas.evaluators.proxy.evaluator`  from a genotype to its validation accuracy
Presets:    :mod:`evo_nas.evaluators.proxy.presets`    every number that decides a proxy training
"""
