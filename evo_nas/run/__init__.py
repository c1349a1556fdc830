"""One run, wired: its parts (:mod:`evo_nas.run.parts`) and its search (:mod:`evo_nas.run.search`)."""
