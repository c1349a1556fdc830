# %% [markdown]
# # Which strategy is better?
#
# One run proves nothing: the same strategy with another seed may come out elsewhere. So strategies are compared over
# many seeds, with a test. Here a landscape of 100 bits replaces the training, so that a run takes a second.

# %%
# %matplotlib inline
from IPython.display import Image

import evo_nas

strategies = ["random", "evolution(population=20,sample=5)", "local"]
comparison = evo_nas.study(strategies, space="bits", evaluator="toy", trials=200, seeds=5, study_dir="runs/study")
comparison.table[["group", "runs", "best", "best_sd"]]

# %% [markdown]
# What may be concluded, in words: Holm's correction is applied, since there are several pairs.

# %%
for sentence in comparison.conclusions:
    print(sentence)

# %% [markdown]
# The curves, with the spread over seeds, are a file of the study.

# %%
Image(next(str(file) for file in comparison.files if file.suffix == ".png"))

# %% [markdown]
# All runs are ordinary run folders, so pandas can ask anything else. How many trainings did each need to be as good as
# random search was in the end?

# %%
trials = evo_nas.load_history("runs/study/*-seed*")
target = trials[trials["strategy"] == "random"].groupby("run", observed=True)["best_so_far"].max().mean()
reached = trials[trials["best_so_far"] >= target].groupby(["strategy", "run"], observed=True)["sample"].min()
reached.groupby("strategy", observed=True).agg(["count", "mean"])
