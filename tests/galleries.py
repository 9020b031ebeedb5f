"""Small studies of enrolled people, that tests share."""

import torch
from torch import nn

import lookaway as la
from lookaway.data.folder import FolderSource
from lookaway.data.pixels import as_floats, to_grid
from oracles import enliven

DODGE = {"name": "dodge", "fgsm": {"objective": "score"}}
TAKEN = {"name": "taken", "pgd": {"objective": "score", "targets": "nearest", "steps": 2}}


def study_of(quick_study, *models, **more):
    """The quick study of other models, without pictures."""
    quick = {"epsilons": [0.05], "explain": {"explained_class": ["label"], "pictured": 0}}
    return {**quick_study, "models": list(models), "transfer_from": [], **quick, **more}


def embedder():
    """A network of 24 numbers."""
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    )
    return la.Embedder(enliven(net, 0), mean=0.5, std=0.5, input_size=32)


def grids_of(result, part):
    """The samples of a part, and their pixels (N, C, 64, 64)."""
    source = FolderSource(result.plan.settings.data.folder)
    records = {record.image: record for record in source.scan().records}
    chosen = result.samples().filter(part=part)
    grids = [to_grid(source.open(records[image]), 64) for image in chosen["image"]]
    return chosen, torch.from_numpy(as_floats(grids))
