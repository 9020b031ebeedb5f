"""Errors survive the way from one process to another."""

import copy
import pickle

import pytest

from lookaway.errors import LookawayError, Problem, StudyError

PROBLEMS = [Problem(3, "models[0]", "is no network"), Problem(0, "epsilons", "are missing")]
ARGUMENTS = {StudyError: (PROBLEMS, "study.yaml")}  # of those that take more than a message


def kinds(base=LookawayError):
    """Every error of lookaway's own that has been defined."""
    below = {kind for child in base.__subclasses__() for kind in kinds(child)}
    return {kind for kind in {base, *below} if kind.__module__.startswith("lookaway.")}


def pickled(error):
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize("kind", sorted(kinds(), key=lambda kind: kind.__name__))
@pytest.mark.parametrize("sent", [pickled, copy.copy])
def test_an_error_comes_out_of_another_process_as_it_went_in(kind, sent):
    error = kind(*ARGUMENTS.get(kind, ("the reason",)))
    error.add_note("a note")
    got = sent(error)
    assert type(got) is kind
    assert str(got) == str(error)
    assert vars(got) == vars(error)
