"""The command ``doctor``: examine the machine, try what a search would do, and advise what makes it faster.

Facts:   :mod:`evo_nas.commands.doctor.facts`   what is here: versions, machine, device, images, run folder
Trial:   :mod:`evo_nas.commands.doctor.estimate`  a few steps of a few candidates, timed; ``run --dry-run``
Advice:  :mod:`evo_nas.commands.doctor.advice`  what to change, each line for a measured or a documented reason
Report:  :mod:`evo_nas.commands.doctor.examine`  all of it together, as text and as JSON
"""
