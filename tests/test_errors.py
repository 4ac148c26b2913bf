"""The errors are Python's own as well, and nothing that catches those takes ours for them."""

import pickle

import pytest
from astropy import units

import skyshards
from skyshards import errors
from skyshards.files import clear_errors
from skyshards.pipeline.build import build
from tests.toy import Toy


@pytest.mark.parametrize(
    "kind", [errors.FolderError, errors.NewerFormat, errors.UsageError], ids=lambda kind: kind.__name__
)
def test_errors_are_pythons_own_too(kind):
    own = ValueError if kind is errors.UsageError else FileNotFoundError
    error = pickle.loads(pickle.dumps(kind("expected this, found that")))
    assert isinstance(error, own) and isinstance(error, errors.SkyshardsError)
    assert str(error) == "expected this, found that"


def test_a_missing_folder_is_a_file_that_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a built dataset"):
        skyshards.open(tmp_path / "nothing")


def test_an_error_of_the_folder_is_none_of_the_disk(tmp_path):
    with pytest.raises(errors.FolderError, match="^as it was$"), clear_errors(tmp_path):
        raise errors.FolderError("as it was")


def test_an_angle_of_another_unit_is_called_that(tmp_path):
    build(Toy(1), tmp_path / "toy", workers=0)
    with pytest.raises(ValueError, match="^radius: expected an angle, found 3.0 kg$"):
        skyshards.open(tmp_path / "toy").cone(1.0, 2.0, 3.0 * units.kg)
