# %% [markdown]
# # From your own images to a model that is deployed
#
# All that is needed is a folder per class, in `train/` and `test/`. Here 300 small pictures of digits play the part of
# your images.

# %%
# %matplotlib inline
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import evo_nas

digits, folder = load_digits(), Path("my-images")
for index in np.random.default_rng(0).permutation(len(digits.images))[:300]:
    part, label = ("test" if index % 4 == 0 else "train"), f"digit-{digits.target[index]}"
    (folder / part / label).mkdir(parents=True, exist_ok=True)
    pixels = (digits.images[index] * 15.9).astype(np.uint8)
    Image.fromarray(pixels).resize((16, 16)).save(folder / part / label / f"{index}.png")

# %% [markdown]
# Search for a cell that suits them. The size of the search is what a notebook has time for: `preset="cpu"` and 200
# trials are a night on a laptop.

# %%
settings = [
    "space.blocks=3",
    "evaluator.epochs=3",
    "evaluator.filters=4",
    "evaluator.cells_per_stack=1",
    "evaluator.batch_size=32",
]
run = evo_nas.search(
    strategy="random",
    dataset="folder",
    data_dir="my-images",
    preset="cpu",
    trials=3,
    settings=settings,
    run_dir="runs/mine",
)
run.best.fitness

# %% [markdown]
# Enlarge the best cell, train it to the end, and measure it once on the test images.

# %%
result = evo_nas.train(
    run,
    preset="cpu",
    image_size=16,
    filters=6,
    cells_per_stack=1,
    epochs=6,
    settings=["batch_size=16"],
    train_dir="runs/final",
)
print(f"{result.test_accuracy:.1%} of the test images")

# %% [markdown]
# Use it, here on five of the test images.

# %%
for one in evo_nas.predict("runs/final/best.safetensors", sorted(folder.glob("test/*/*.png"))[:5], top=2):
    print(one.image.name, [(name, round(score, 2)) for name, score in one.classes])

# %% [markdown]
# And hand it on: ONNX for a device, or one Python file that needs nothing but torch.

# %%
evo_nas.export(weights="runs/final/best.safetensors", format=["module", "onnx"], output="deployed")
