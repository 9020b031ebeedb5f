"""What lasts over many passes: a network that is held, and checks that are read at the end."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

import lookaway as la
from cells import a_batch
from lookaway.errors import InputError, ModelError
from lookaway.explainers import cam
from lookaway.kernel import Key, measure_images
from lookaway.models.postponed import in_doubt, must_hold, postponed, settled

YES, NO = torch.tensor(True), torch.tensor(False)


def refuse(flag, told):
    must_hold(flag, lambda: InputError(told))


def test_a_check_is_read_at_once_or_at_the_end_of_what_postpones_it():
    refuse(YES, "fine")
    with pytest.raises(InputError, match="now"):
        refuse(NO, "now")
    done = []
    with pytest.raises(InputError, match="first"):
        nested(done)
    assert done == ["all"]


@postponed()
def nested(done):
    with postponed():
        refuse(YES, "fine")
        refuse(NO, "first")
    refuse(NO, "second")
    done.append("all")


@postponed()
def failing(flag):
    refuse(flag, "cause")
    raise ValueError("effect")


def test_an_error_gives_way_to_the_check_that_it_may_follow_from_and_else_stays():
    with pytest.raises(InputError, match="cause") as caught:
        failing(NO)
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(ValueError, match="effect"):
        failing(YES)
    with pytest.raises(InputError, match="at once again"):
        refuse(NO, "at once again")


def test_only_what_met_a_doubt_is_looked_at_again_and_settles_it():
    def look(name, *doubts):
        return [name, *(in_doubt(doubt) for doubt in doubts)]

    looks = [lambda: look("a", NO, NO), lambda: look("b", NO, YES), lambda: look("c")]
    assert settled(looks) == [["a", False, False], ["b", False, True], ["c"]]
    assert in_doubt(YES)


def test_hooks_and_modes_are_set_once_however_many_passes_there_are(monkeypatch):
    clf, images, labels, settings = a_batch()
    counted = Counter()

    def counting(name):
        real = getattr(nn.Module, name)

        def call(self, *rest, **options):
            counted[name] += 1
            return real(self, *rest, **options)

        monkeypatch.setattr(nn.Module, name, call)

    def count(epsilons):
        counted.clear()
        how = settings.__class__(**{**vars(settings), "epsilons": epsilons, "batch_size": 2})
        clf.module.train()
        with clf.held():
            measure_images(clf, images, labels, how, [la.FGSM()], [la.GradCAM()])
        assert all(part.training for part in clf.module.modules())
        return Counter(counted)

    for name in ("register_forward_hook", "named_modules", "modules", "__setattr__"):
        counting(name)
    few, many = count((0.1,)), count((0.02, 0.05, 0.1))
    assert few == many
    assert few["register_forward_hook"] == 1


def test_a_held_network_is_as_it_was_also_after_an_error():
    clf, images, labels, settings = a_batch()
    clf.module.train()
    asked = [parameter.requires_grad for parameter in clf.module.parameters()]
    before = {name: value.clone() for name, value in clf.module.state_dict().items()}
    with torch.no_grad():
        next(clf.module.parameters())[0] = torch.nan
    with pytest.raises(ModelError, match="NaN"):
        measure_images(clf, images, labels, settings, [la.FGSM()], [la.GradCAM()])
    assert all(part.training for part in clf.module.modules())
    assert not any(part._forward_hooks for part in clf.module.modules())
    assert [parameter.requires_grad for parameter in clf.module.parameters()] == asked
    clf.module.load_state_dict(before)
    assert clf(images).isfinite().all()


def test_a_faint_map_is_dead_in_a_measurement_just_where_the_explainer_says_so(monkeypatch):
    monkeypatch.setattr(cam, "DEAD_BELOW", 0.2)  # so that the cheap bound leaves doubts
    clf, images, labels, settings = a_batch()
    found = measure_images(clf, images, labels, settings, [la.FGSM()], [la.GradCAM()])
    attacked = la.FGSM()(clf, images, labels, settings.epsilons)[0]
    for name, pixels in (("clean_dead", images), ("attacked_dead", attacked)):
        dead = found.arrays[Key(name, "gradcam", "own", settings.last)]
        dead = dead[:, 0, 0] if dead.ndim > 1 else dead
        alone = la.GradCAM()(clf, pixels)
        np.testing.assert_array_equal(dead, alone.dead[settings.last])
    assert 0 < dead.sum() < len(dead)
