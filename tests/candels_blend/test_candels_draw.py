"""The pairs and shifts are candels-blender's own, and the split is what it says."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candels_blend.download import unpack
from candels_blend.draw import Draw, _mask, draw_sample, words
from candels_blend.drawn import DrawnBlends, galaxies
from candels_blend.npy_files import write_catalogue
from candels_blend.sample import GALAXY_TYPES, SPLITS, Sample
from candels_blend.stamp_archive import read_archive
from skyshards.errors import BuildError, UsageError


def naive_draw(catalogue, sample, n_blends):
    """What candels-blender does, spelt out with the calls to RandomState that it makes; also the rejected pairs."""
    state = np.random.RandomState(sample.seed)
    catalogue = catalogue.copy()
    catalogue["row"] = np.arange(len(catalogue))
    order = state.permutation(len(catalogue))
    cuts = [lambda c: c.mag > sample.mag_low, lambda c: c.mag < sample.mag_high]
    cuts += [lambda c, name=name: c.galtype != name for name in sorted(sample.excluded_types)]
    cuts += [lambda c: c.eval(sample.cut)] if sample.cut else []
    for cut in cuts:
        catalogue = catalogue[cut(catalogue)].reset_index(drop=True)
        order = state.permutation(len(catalogue))
    n_test_galaxies = int(len(catalogue) * sample.test_ratio)
    n_test = int(sample.test_ratio * n_blends)
    mag, radius, row = catalogue.mag.to_numpy(), catalogue.radius.to_numpy(), catalogue.row.to_numpy()
    pairs, rejected = {"train": [], "test": []}, []
    for split, indices, count in (
        ("train", order[n_test_galaxies:], n_blends - n_test),
        ("test", order[:n_test_galaxies], n_test),
    ):
        while len(pairs[split]) < count:
            a = state.choice(indices)
            blend = (row[a],)
            while len(blend) < 3 * sample.n_galaxies - 2:
                b = state.choice(indices)
                while not np.abs(mag[a] - mag[b]) < sample.mag_diff:
                    b = state.choice(indices)
                shift = naive_shift(radius[a], radius[b], sample.rad_diff, state)
                if shift is None:
                    rejected.append((row[a], row[b]))
                    break
                blend += (row[b], *shift)
            else:
                pairs[split].append(blend)
    return pairs, rejected


def naive_shift(radius1, radius2, rad_diff, state):
    """The original's shift of the second galaxy, or None after 25 tries."""
    rad_min, rad_max = max(radius1, radius2), min(min(radius1, radius2) * rad_diff, 64)
    if rad_min >= rad_max:
        rad_min = 0.8 * rad_max
    shift, tries = [0, 0], 25
    while tries and not rad_min <= np.hypot(*shift) <= rad_max:
        shift, tries = state.randint(-rad_max, rad_max, size=2).tolist(), tries - 1
    return shift if rad_min <= np.hypot(*shift) <= rad_max else None


@pytest.fixture(scope="module")
def shared_archive(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    unpack(shared_data / "candels" / "candels-blender-data.tar.gz", folder)
    return read_archive(folder)


@pytest.mark.parametrize("split", SPLITS)
def test_catalogue_is_that_of_candels_blender_byte_for_byte(shared_archive, shared_data, tmp_path, split):
    pairs = draw_sample(shared_archive, Sample(seed=42, mag_high=23.5, excluded_types=("irr",)), 400)
    write_catalogue(tmp_path / "catalogue.csv", shared_archive, pairs[split])
    expected = shared_data / "candels" / "expected_s42" / f"{split}_catalogue.csv"
    assert (tmp_path / "catalogue.csv").read_bytes() == expected.read_bytes()


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    mag_diff=st.floats(0.3, 8),
    rad_diff=st.floats(0.7, 6),
    test_ratio=st.floats(0.1, 0.6),
    mag_high=st.floats(22.5, 30),
    excluded_types=st.lists(st.sampled_from(["irr", "sphd"]), unique=True),
    cut=st.sampled_from([None, "radius > 4 and RA < 300"]),
    n_galaxies=st.integers(2, 5),
)
def test_pairs_are_those_of_the_naive_draw(archive, **options):
    sample = Sample(**options | {"excluded_types": tuple(options["excluded_types"])})
    rejected = []
    try:
        pairs = draw_sample(archive, sample, 40, lambda *rows: rejected.append(rows))
    except BuildError:  # the split has no two galaxies that go together, where the naive draw blends one with itself
        return
    expected, expected_rejected = naive_draw(archive.catalogue, sample, 40)
    assert {split: pairs[split].tolist() for split in SPLITS} == {
        split: [tuple(map(int, pair)) for pair in expected[split]] for split in SPLITS
    }
    assert rejected == expected_rejected


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), bounds=st.lists(st.integers(2, 5000), min_size=1, max_size=300))
def test_words_make_the_integers_of_randint(seed, bounds):
    word, state = words(np.random.RandomState(seed)), np.random.RandomState(seed)
    for n in bounds:
        while (found := word() & _mask(n)) >= n:
            pass
        assert found == state.randint(n)


def test_pairs_keep_to_the_bounds(archive):
    sample = Sample(seed=3, mag_diff=1.5, rad_diff=3, mag_high=23.2, excluded_types=("irr", "sph"))
    pairs = draw_sample(archive, sample, 500)
    both = np.concatenate([pairs[split] for split in SPLITS])
    catalogue = archive.catalogue
    mag = catalogue.mag.to_numpy()
    for galaxy in ("g1", "g2"):
        assert (mag[both[galaxy]] < 23.2).all()
        assert not catalogue.galtype.iloc[both[galaxy]].isin(["irr", "sph"]).any()
    assert (np.abs(mag[both["g1"]] - mag[both["g2"]]) < 1.5).all()
    assert (np.hypot(both["dy2"], both["dx2"]) <= 64).all()
    assert (both["dy2"] != 0).any() and (both["dx2"] != 0).any()


def test_no_galaxy_serves_in_both_splits(archive):
    pairs = draw_sample(archive, Sample(), 2000)
    used = {split: set(pairs[split]["g1"]) | set(pairs[split]["g2"]) for split in SPLITS}
    assert used["train"] and used["test"] and not used["train"] & used["test"]
    galaxies = Draw(archive, Sample()).galaxies
    assert sorted([*galaxies["train"], *galaxies["test"]]) == archive.rows.tolist()


def test_counts_of_the_splits(archive):
    pairs = draw_sample(archive, Sample(test_ratio=0.3), 101)
    assert (len(pairs["train"]), len(pairs["test"])) == (71, 30)


def test_a_longer_sample_starts_with_the_same_train_pairs(archive):
    short, long = (draw_sample(archive, Sample(seed=9), n)["train"] for n in (50, 500))
    assert (long[: len(short)] == short).all()


@settings(max_examples=20)
@given(st.lists(st.lists(st.integers(0, 3000), max_size=5), max_size=6))
def test_pairs_are_the_same_in_whatever_order_they_are_asked_for(archive, requests):
    expected = draw_sample(archive, Sample(test_ratio=0.1), 3400)["train"]
    pairs = DrawnBlends(Draw(archive, Sample(test_ratio=0.1)).blends("train"), 2)
    for numbers in requests:
        numbers = np.array(numbers, np.int64)
        assert (pairs[numbers] == expected[numbers]).all()


def test_what_cuts_leave_out_is_counted(archive):
    said = []
    draw = Draw(archive, Sample(mag_high=23.5), left_out=lambda *words: said.append(words))
    left = sum(map(len, draw.galaxies.values()))
    assert said == [("mag_high 23.5", 40 - left, 40)] and 0 < left < 40


def test_cut_that_leaves_too_few_galaxies_is_named(archive):
    with pytest.raises(BuildError, match=r"mag_high` 10 leaves 0 of 40 galaxies, expected at least two"):
        Draw(archive, Sample(mag_high=10))
    with pytest.raises(BuildError, match="`excluded_types` sph"):
        Draw(archive, Sample(excluded_types=GALAXY_TYPES))


@pytest.mark.parametrize("mag_diff", [0.0, 1e-9])
def test_no_pair_within_mag_diff_is_an_error(archive, mag_diff):
    with pytest.raises(BuildError, match="no two of the 32 train galaxies differ by less than"):
        draw_sample(archive, Sample(mag_diff=mag_diff), 10)


def test_split_of_one_galaxy_is_an_error_if_blends_of_it_are_wanted(archive):
    sample = Sample(test_ratio=0.03)
    with pytest.raises(BuildError, match="no two of the 1 test galaxies"):
        draw_sample(archive, sample, 100)
    assert len(draw_sample(archive, sample, 10)["train"]) == 10


@pytest.mark.parametrize("rad_diff", [0.0, 0.01])
def test_no_shift_for_any_pair_is_an_error(archive, rad_diff):
    with pytest.raises(BuildError, match="no shift found for 10000 pairs of train galaxies"):
        draw_sample(archive, Sample(rad_diff=rad_diff), 10)


class Breaks:
    """A stream of pairs that gives so many and then raises an error; asked again, it has others."""

    def __init__(self, count, error):
        self._numbers = iter(range(2 * count))
        self._count = count
        self._error = error

    def __iter__(self):
        return self

    def __next__(self):
        number = next(self._numbers)
        if number == self._count:
            raise self._error
        return number, 0, 0, 0


def test_pairs_before_a_failure_are_there_and_all_others_are_the_failure():
    pairs = DrawnBlends(Breaks(1500, BuildError("no shift")), 2)
    for numbers in ([2000], [3], [0, 1500], [1499], [5000]):
        if max(numbers) < 1500:
            assert pairs[np.array(numbers)]["g1"].tolist() == numbers
        else:
            with pytest.raises(BuildError, match="^no shift$"):
                pairs[np.array(numbers)]


def test_no_pairs_are_drawn_after_an_interruption():
    pairs = DrawnBlends(Breaks(1500, KeyboardInterrupt()), 2)
    assert pairs[np.array([7])]["g1"] == 7
    with pytest.raises(KeyboardInterrupt):
        pairs[np.array([1600])]
    with pytest.raises(BuildError, match="was interrupted; make these blends anew"):
        pairs[np.array([1499])]
    assert pairs[np.array([7])]["g1"] == 7


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("seed", [-1, 2**32, 2.5, "a", None, np.nan]),
        ("mag_low", [np.nan, "a", None]),
        ("mag_high", [np.nan, "a", None]),
        ("mag_diff", [-1, -1e-9, -np.inf, np.nan, "a", None]),
        ("rad_diff", [-3, -1e-9, -np.inf, np.nan, "a", None]),
        ("test_ratio", [-0.1, 1.5, np.nan, "a", None]),
        ("excluded_types", [("round",)]),
        ("cut", [3, ["z < 1"]]),
        ("n_galaxies", [1, 6, 2.5, "a", None]),
    ],
)
def test_options_out_of_bounds(name, values):
    for value in values:
        with pytest.raises(UsageError, match=f"^{name}: expected .*, found "):
            Sample(**{name: value})


def test_infinite_bounds_are_none(archive):
    unbounded = Sample(mag_low=-np.inf, mag_high=np.inf)
    for split, pairs in draw_sample(archive, unbounded, 50).items():
        assert (pairs == draw_sample(archive, Sample(), 50)[split]).all()


def test_numbers_of_numpy_are_numbers(archive):
    sample = Sample(np.int64(42), np.float32(0), np.float64(100), np.int32(2), np.uint8(4))
    assert (draw_sample(archive, sample, 50)["train"] == draw_sample(archive, Sample(), 50)["train"]).all()


def test_a_cut_keeps_the_galaxies_for_which_it_is_true(archive):
    said = []
    sample = Sample(cut='galtype in ("disk", "sph") and radius * 2 > 8', n_galaxies=3)
    pairs = draw_sample(archive, sample, 200, left_out=lambda *words: said.append(words))
    used = archive.catalogue.iloc[galaxies(np.concatenate([pairs[split] for split in SPLITS])).ravel()]
    assert used["galtype"].isin(["disk", "sph"]).all() and (used["radius"] > 4).all()
    left = ((archive.catalogue["galtype"].isin(["disk", "sph"])) & (archive.catalogue["radius"] > 4)).sum()
    assert said == [(f"cut {sample.cut}", 40 - left, 40)]


def test_a_cut_on_a_redshift_that_is_missing_is_false(archive):
    from candels_blend.cuts import passing

    catalogue = archive.catalogue.copy()
    catalogue.loc[3, "z"] = -99
    for condition in ("z < 100", "not z < 100"):
        assert not passing(condition, catalogue)[3]


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ("z <", "cut: 'z <' is not a condition"),
        ("depth > 1", "cut: no column 'depth'; available: ID, "),
        ("z + 1", "cut: 'z \\+ 1': expected a condition"),
        ("", "cut: '' is not a condition"),
    ],
)
def test_a_cut_that_is_none(archive, cut, message):
    with pytest.raises(UsageError, match=f"^{message}"):
        Draw(archive, Sample(cut=cut))


def test_clean_galaxies_are_cut_first(archive, stamps):
    from candels_blend.stamps import clean_rows

    clean = clean_rows(archive)
    assert 2 < clean.sum() < len(clean)
    galaxies = Draw(archive, Sample(use_clean_galaxies=True)).galaxies
    assert sorted([*galaxies["train"], *galaxies["test"]]) == np.flatnonzero(clean).tolist()


def test_catalogue_has_the_lines_that_csv_writers_end_with(archive, tmp_path):
    write_catalogue(tmp_path / "c.csv", archive, draw_sample(archive, Sample(), 5)["train"])
    lines = io.BytesIO((tmp_path / "c.csv").read_bytes()).readlines()
    assert len(lines) == 5 and all(line.endswith(b"\r\n") for line in lines)
