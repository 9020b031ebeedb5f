"""What growing costs: a study of faces grown in five steps, and each step's part alone.

    python benchmarks/growing.py PATH/TO/orl-faces

Sixteen people, two small networks trained from scratch, 112 px. Seconds of the processor of
training and of measuring: of the step in the folder that grows, and of a study of that part alone
in a folder of its own; without tables, figures and page, which are made anew each time. At the end
the grown study's rows are held against those of one that was made at once.
"""

import copy
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import lookaway as la
import lookaway.run

NET = {"pretrained": False, "train": "all", "input_size": 112}
FIRST, SECOND = (
    {"name": name, "timm": timm, **NET}
    for name, timm in (("A", "test_resnet"), ("B", "mobilenetv3_small_050"))
)
STUDY = {
    "data": {
        "classes": 16,
        "image_size": 112,
        "split": {"train": 0.6, "val": 0.2, "test": 0.2},
    },
    "models": [FIRST],
    "training": {"epochs": 5, "batch_size": 16, "precision": "float32", "seeds": [0]},
    "attacks": ["fgsm"],
    "epsilons": ["4/255"],
    "controls": {"shifted": 1},
    "explain": {"methods": ["gradcam"], "explained_class": ["clean"]},
    "measure": {"grid": 112},
}
PGD = {"name": "pgd10", "pgd": {"steps": 10}}
# Of each step where it lies, what is there before, and what is new.
STEPS = {
    "one more ε": ("epsilons", ["8/255"]),
    "one more model": ("models", [SECOND]),
    "one more attack": ("attacks", [PGD]),
    "one more method": ("methods", ["eigencam"]),
    "one more seed": ("seeds", [1]),
}
SECTION = {"methods": "explain", "seeds": "training"}
SPENT = Counter()


def timed(name):
    """Have a stage of runs add what it spends."""
    work = getattr(lookaway.run, name)

    def spending(*given, **named):
        began = time.process_time()
        try:
            return work(*given, **named)
        finally:
            SPENT[name] += time.process_time() - began

    setattr(lookaway.run, name, spending)


def spent(study, out):
    """Seconds of training and of measuring that a run takes."""
    SPENT.clear()
    la.run_study(study, out, progress=False)
    return SPENT["train_models"], SPENT["run_here"]


def with_list(study, name, value):
    changed = copy.deepcopy(study)
    section = changed[SECTION[name]] if name in SECTION else changed
    section[name] = value
    return changed


def main():
    for name in ("train_models", "run_here"):
        timed(name)
    lookaway.run.build_report = lambda *_a, **_k: None
    study = copy.deepcopy(STUDY)
    study["data"]["folder"] = sys.argv[1]
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        training, cells = spent(study, root / "out")
        print("| step | training | measuring | that part alone |")
        print("|---|--:|--:|--:|")
        print(f"| the first study | {training:.1f} s | {cells:.1f} s | |")
        for step, (name, new) in STEPS.items():
            section = study[SECTION[name]] if name in SECTION else study
            alone = with_list(study, name, new)
            study = with_list(study, name, [*section[name], *new])
            training, cells = spent(study, root / "out")
            own_training, own_cells = spent(alone, root / step)
            trained = f"{own_training:.1f} + " if name in ("models", "seeds") else ""
            own = f"{trained}{own_cells:.1f} s"
            print(f"| {step} | {training:.1f} s | {cells:.1f} s | {own} |", flush=True)
        training, cells = spent(study, root / "fresh")
        print(f"| all at once | {training:.1f} s | {cells:.1f} s | |")
        grown, fresh = (la.open_result(root / name).rows() for name in ("out", "fresh"))
        same = grown.equals(fresh)
        print("The grown study's rows", "are" if same else "ARE NOT", "those of one made at once.")


if __name__ == "__main__":
    main()
