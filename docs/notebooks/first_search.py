# %% [markdown]
# # A first search, and its pictures
#
# Regularized evolution searches cells for handwritten digits: 8x8 pixels, no download, a few seconds per training.
# On 2 cores this notebook takes about a minute; more `trials` find better cells.

# %%
# %matplotlib inline
import evo_nas

run = evo_nas.search(
    strategy="evolution", population=5, sample=2, dataset="digits", trials=10, workers=2, run_dir="runs/first"
)
run

# %% [markdown]
# Jupyter shows its best trials and a drawing of the best cells: a normal cell, and a reduction cell that halves the
# image. The run is a folder; everything is read from it. Its trials are a DataFrame, one row per network.

# %%
run.trials[["id", "parent", "fitness", "parameters", "seconds"]].sort_values("fitness", ascending=False).head()

# %% [markdown]
# Accuracy against samples: each dot is one training, the line is the best so far.

# %%
run.plot("curve")

# %% [markdown]
# The whole of it, also for people without Python: one HTML page with tables, curves and cells.

# %%
run.report("report.html")

# %% [markdown]
# A search can be continued at any time, also after a crash. It trains nothing twice.

# %%
run = evo_nas.resume(run, trials=12)
print(f"the best of {len(run.trials)} networks: {run.best.fitness:.1%} of the validation images")
