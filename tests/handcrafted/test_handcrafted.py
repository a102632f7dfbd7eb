"""Hand-crafted features against networks: corruptions, descriptors, methods, and the verdict."""

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.feature import SIFT, hog
from skimage.filters import sobel_h, sobel_v

from cnnpipe.data.dataset import Dataset, Split
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.handcrafted import descriptors as features
from cnnpipe.handcrafted import figures
from cnnpipe.handcrafted.corruptions import (
    CORRUPTIONS,
    blur,
    corrupted,
    inversion,
    noise,
    occlusion,
    rotation,
    scale,
    shift,
)
from cnnpipe.handcrafted.experiment import experiment
from cnnpipe.handcrafted.methods import LinearClassifier, Method, NetworkFeatures, affine_copy
from cnnpipe.handcrafted.other_data import digits, other_datasets
from cnnpipe.handcrafted.results import captions
from cnnpipe.handcrafted.robustness import Robustness, judge_robustness, judge_transfer
from cnnpipe.handcrafted.verdict import judge
from cnnpipe.handcrafted.views import strips, views
from cnnpipe.models import TrainedNetwork, build_model
from cnnpipe.params.loading import load_params
from cnnpipe.params.train import AugmentParams
from cnnpipe.validate.schema import Params

N = 60
FACTS = {"dataset": "mnist", "training": 100, "copies": 1, "test": N, "absent": []}
FACTS |= {"draws": 3, "draw_training": 50, "draw_test": 10}


def random(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def digit_set():
    return digits()


@pytest.fixture(scope="module")
def images(digit_set):
    return digit_set.test.images[:8].numpy()


def few(dataset):
    """A data set that takes no second process."""
    return Dataset(
        dataset.name, dataset.classes, dataset.train.drawn(300, 0), dataset.test.drawn(60, 0)
    )


def dot(row, column, count=1):
    images = np.zeros((count, 28, 28), dtype=np.uint8)
    images[:, row, column] = 200
    return images


class TestCorruptions:
    def test_shift_moves_by_whole_pixels_along_one_axis(self):
        moved = shift(dot(14, 14, 50), 3, random())
        places = {tuple(place) for _, *place in np.argwhere(moved)}
        assert places == {(11, 14), (17, 14), (14, 11), (14, 17)}
        assert moved.sum() == 50 * 200

    def test_what_is_shifted_out_is_lost(self):
        assert {int(image.sum()) for image in shift(dot(0, 14, 50), 3, random())} == {0, 200}

    def test_rotation_turns_both_ways_about_the_centre(self):
        turned = rotation(dot(4, 4, 20), 90, random())  # a quarter turn maps pixels onto pixels
        assert {tuple(place) for _, *place in np.argwhere(turned)} == {(4, 23), (23, 4)}

    def test_scale_enlarges_or_shrinks_by_the_same_factor(self):
        square = np.zeros((20, 28, 28), dtype=np.uint8)
        square[:, 10:18, 10:18] = 255  # 8×8
        areas = {int((image > 127).sum()) for image in scale(square, 1.0, random())}
        assert areas == {16 * 16, 4 * 4}

    def test_noise_has_the_stated_deviation(self):
        grey = np.full((10, 28, 28), 128, dtype=np.uint8)
        assert noise(grey, 0.1, random()).std() == pytest.approx(25.5, rel=0.03)

    def test_blur_of_a_point_is_a_gaussian(self):
        blurred = blur(dot(14, 14), 1.0, random())[0]
        assert blurred[14, 14] == round(200 / (2 * np.pi))  # 1/(2πσ²) of the point
        assert blurred[14, 16] == round(200 / (2 * np.pi) * np.exp(-2))

    def test_inversion_worked_by_hand(self):
        pixels = np.array([[[0, 100, 255]]], dtype=np.uint8)
        assert inversion(pixels, 1, random()).tolist() == [[[255, 155, 0]]]
        assert inversion(pixels, 0.25, random()).tolist() == [[[64, 114, 191]]]
        assert np.ptp(inversion(pixels, 0.5, random())) == 0

    def test_occlusion_hides_a_square_of_the_box(self):
        white = np.full((30, 28, 28), 255, dtype=np.uint8)
        covered = occlusion(white, 6, random())
        assert ((covered == 0).sum(axis=(1, 2)) == 36).all()
        _, rows, columns = np.nonzero(covered == 0)
        assert rows.min() >= 4
        assert columns.max() <= 23

    @pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: c.name)
    def test_severity_0_is_the_clean_image_and_more_is_worse(self, corruption, images):
        before = images.copy()
        np.testing.assert_array_equal(corruption.apply(images, 0, random()), images)
        assert list(corruption.severities) == sorted(corruption.severities)
        levels = corrupted(images, corruption, seed=1)
        assert levels.shape == (4, *images.shape)
        assert levels.dtype == np.uint8
        change = np.abs(levels.astype(float) - images).mean(axis=(1, 2, 3))
        assert (np.diff(change) > 0).all()
        np.testing.assert_array_equal(levels, corrupted(images, corruption, seed=1))
        np.testing.assert_array_equal(images, before)


class TestFeatures:
    def test_sobel_is_that_of_scikit_image(self, images):
        for image, (horizontal, vertical) in zip(images, features.sobel_maps(images), strict=True):
            np.testing.assert_allclose(horizontal, abs(sobel_h(image / 255)), atol=1e-6)
            np.testing.assert_allclose(vertical, abs(sobel_v(image / 255)), atol=1e-6)

    def test_hog_is_that_of_scikit_image(self, images):
        reference = [hog(i / 255, pixels_per_cell=(4, 4), cells_per_block=(2, 2)) for i in images]
        np.testing.assert_allclose(features.hog_descriptor(images), reference, atol=1e-5)

    def test_dense_sift_is_scikit_images_descriptor_of_an_upright_patch(self, images):
        """At the smallest smoothing that skimage takes, so nearly the same 128 numbers."""
        cosines = []
        for image, patches in zip(images, features.dense_sift(images), strict=True):
            middle = patches.reshape(9, 9, 128)[4, 4]  # its centre is (13.5, 13.5)
            reference = SIFT(upsampling=1, n_octaves=1, sigma_min=0.6, lambda_descr=6 / 0.6)
            reference.positions = np.array([[13.5, 13.5]])
            reference.scales = reference.octaves = np.array([0])
            reference.sigmas, reference.orientations = np.array([0.6]), np.array([0.0])
            reference.extract(image / 255)
            bins = reference.descriptors[0].reshape(4, 4, 8).astype(float)
            # skimage's bins run the other way round, and start from the row axis at bin 1.
            turned = np.roll(bins[:, :, ::-1], 3, axis=2).ravel()
            cosines.append(middle @ turned / np.linalg.norm(middle) / np.linalg.norm(turned))
        assert np.median(cosines) > 0.98
        assert min(cosines) > 0.75

    def test_patches_have_length_1_or_show_nothing(self, images):
        length = np.linalg.norm(features.dense_sift(images), axis=2)
        assert set(np.unique(length.round(5))) <= {0.0, 1.0}

    def test_words_are_counted_over_the_image_and_its_parts(self, images):
        words = features.VisualWords.learn(images, words=5, seed=0)
        counts = words(images) ** 2
        assert counts.shape == (8, 5 * 10)
        seen = features.dense_sift(images).any(axis=2).mean(axis=1)
        np.testing.assert_allclose(counts[:, :5].sum(axis=1), seen, rtol=1e-5)
        np.testing.assert_allclose(counts[:, 5:].sum(axis=1), seen, rtol=1e-5)

    @pytest.mark.parametrize("extract", [features.sobel_edges, features.hog_descriptor])
    def test_a_negative_has_the_same_features(self, extract, images):
        np.testing.assert_allclose(extract(255 - images), extract(images), atol=1e-5)

    @pytest.mark.parametrize(
        ("extract", "length"),
        [
            (features.raw_pixels, 784),
            (features.sobel_edges, 2 * 14 * 14),
            (features.canny_edges, 2 * 14 * 14),
            (features.hog_descriptor, 36 * 6 * 6),
        ],
    )
    def test_the_vector_of_an_image_does_not_depend_on_the_others(self, extract, length, images):
        together = extract(images)
        assert together.shape == (8, length)
        assert together.dtype == np.float32
        np.testing.assert_array_equal(together[3:4], extract(images[3:4]))


class TestMethods:
    def test_linear_classifier_separates_what_a_line_separates(self):
        points = random().normal(size=(100, 2)).astype(np.float32)
        labels = (points[:, 0] > 0).astype(np.int64)
        assert (LinearClassifier.fit(points, labels)(points) == labels).mean() > 0.97

    def test_features_that_never_vary_are_no_error(self):
        classifier = LinearClassifier.fit(np.zeros((4, 3), np.float32), np.array([0, 1, 1, 1]))
        assert classifier(np.zeros((1, 3), np.float32)).tolist() == [1]

    @pytest.mark.parametrize("name", ["lenet5", "vgg"])
    def test_a_network_is_its_features_and_a_linear_classifier(self, name, images):
        torch.manual_seed(0)
        model, normalization = build_model(name).eval(), Normalization(0.1, 0.3)
        network = NetworkFeatures(TrainedNetwork(name, model, normalization))
        with torch.inference_mode():
            expected = model(normalization(torch.from_numpy(images))).argmax(1)
        assert network.classify(network(images)).tolist() == expected.tolist()

    def test_without_maps_a_copy_is_the_image(self, images):
        still = AugmentParams(degrees=0.0, translate=0.0, scale=0.0, shear=0.0)
        np.testing.assert_array_equal(affine_copy(images, still, seed=0), images)


class TestRobustness:
    def test_every_method_is_judged_on_the_same_images(self, images):
        seen = []

        def spy(given):
            seen.append(given.tobytes())
            return given.reshape(len(given), -1).astype(np.float32)

        def also(given):
            return spy(given)

        split = Split(torch.from_numpy(images), torch.zeros(len(images), dtype=torch.int64))
        zeros = lambda features: np.zeros(len(features), dtype=np.int64)  # noqa: E731
        methods = [
            Method("hog", "network", "plain", spy, zeros, 0.0),
            Method("hog", "network", "augmented", spy, zeros, 0.0),
            Method("sift", "network", "plain", also, zeros, 0.0),
        ]
        robustness = judge_robustness(methods, split, seed=0)
        assert seen[0::2] == seen[1::2]  # both see the same, and the first two share the work
        assert len(seen) == 2 * (1 + len(CORRUPTIONS))
        assert robustness.versions["hog", "plain"].shape == (28, len(images))
        assert robustness.versions["hog", "plain"].all()
        table = robustness.table()
        assert len(table) == 3 * 7 * 5
        assert (table["low"] < 1).all()

    def test_transfer_with_and_without_a_new_classifier(self, digit_set):
        wrong = Method(
            "hog", "hand-crafted", "plain", features.hog_descriptor,
            lambda given: np.full(len(given), -1), 0.0,
        )  # fmt: skip
        small = few(digit_set)
        transfer = judge_transfer([wrong], small, small)
        assert not transfer.as_is["hog", "plain"].any()
        assert transfer.refitted["hog", "plain"].mean() > 0.8
        other = Dataset("mnist", ("a", "b"), small.train, small.test)
        assert judge_transfer([wrong], other, small).as_is == {}

    def test_data_sets_that_are_not_there_are_named(self, tmp_path):
        found, absent = other_datasets(["digits", "fashion_mnist"], "mnist", tmp_path)
        assert [dataset.name for dataset in found] == ["digits"]
        assert absent == ["fashion_mnist"]
        assert other_datasets(["digits"], "digits", tmp_path) == ([], [])


def decide(hog, lenet, refitted=(0.5, 0.9), as_is=(0.3, 0.9), *, spread=0.01, alone=False):
    """The finding where features and LeNet-5 are right on these shares.

    Args:
        hog, lenet: under every corruption, or under each.
        spread: by how much LeNet-5 is better in each draw than in the one before.
        alone: whether no other data set is there.
    """
    of_corruptions = [np.broadcast_to(share, len(CORRUPTIONS)) for share in (hog, lenet)]
    places = [
        ("brittle", corruption.name, *shares)
        for corruption, *shares in zip(CORRUPTIONS, *of_corruptions, strict=True)
    ]
    if not alone:
        places += [
            ("domain-specific", "digits", *refitted),
            ("failed to generalize", "digits", *as_is),
        ]
    draws = [
        (word, on, method, share + spread * run * (method == "lenet5"), run)
        for word, on, feature, network in places
        for method, share in (("hog", feature), ("sift", feature), ("lenet5", network))
        for run in range(-1, 2)
    ]
    # The tables of all methods say nothing about the verdict: one method, right on every image.
    method = Method("hog", "hand-crafted", "augmented", features.raw_pixels, len)
    right = np.ones((4, N), dtype=bool)
    corrupted = {corruption.name: {method.key: right} for corruption in CORRUPTIONS}
    return judge(
        pd.DataFrame(draws, columns=["word", "on", "method", "accuracy", "run"]),
        [method],
        Robustness({method.key: right[0]}, corrupted),
        [],
        0,
        FACTS,
    )


class TestVerdict:
    def test_shown_where_the_network_leads_in_all(self):
        finding = decide(0.4, 0.8)
        assert finding.verdict == "shown"
        assert finding.number == pytest.approx(40)
        assert finding.statement.count("is shown") == 6  # three words, two rivals

    def test_refuted_by_features_that_are_as_robust(self):
        finding = decide(0.8, 0.8, spread=0.001)
        assert finding.verdict == "shown not to hold"
        assert finding.number == pytest.approx(0)
        assert finding.statement.count("“brittle” is shown not to hold") == 2

    def test_refuted_by_features_that_transfer_as_well(self):
        assert decide(0.4, 0.8, refitted=(0.9, 0.9), spread=0.001).verdict == "shown not to hold"

    def test_draws_that_disagree_decide_nothing(self):
        assert decide(0.7, 0.8, spread=0.2).verdict == "not decided"

    def test_a_lead_that_one_corruption_decides_is_not_one_over_corruptions(self):
        finding = decide([0.8] * 6 + [0.1], [0.8] * 6 + [0.9], spread=0.001)
        assert finding.interval[0] > 1  # on average over these corruptions
        assert finding.verdict == "not decided"

    def test_corruptions_are_named_under_which_either_is_ahead(self):
        statement = decide([0.7] * 6 + [0.95], [0.8] * 6 + [0.1]).statement
        assert "and HOG under occlusion" in statement

    def test_without_another_data_set_brittleness_decides(self):
        alone = decide(0.4, 0.8, alone=True)
        assert alone.verdict == "shown"
        assert "No other data set" in alone.statement


@pytest.fixture(scope="module")
def outcome(digit_set, tmp_path_factory):
    """The whole experiment on few real digits."""
    params = load_params(Params, "params.yaml")
    sizes = params.handcrafted.model_copy(
        update={"training": 150, "test": 15, "words": 8, "epochs": 1, "batch_size": 50}
        | {"draws": 2, "draw_training": 50, "draw_test": 10, "draw_transfer": 60}
    )
    torch.manual_seed(0)
    model = build_model("vgg", blocks=[[4]]).eval()
    networks = [TrainedNetwork("vgg", model, Normalization(0.1, 0.3))]
    small = few(digit_set)
    dataset = Dataset("mnist", small.classes, small.train, small.test)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnnpipe.handcrafted.other_data.digits", lambda: small)
        return experiment(
            dataset,
            networks,
            sizes,
            params.models["lenet5"],
            tmp_path_factory.mktemp("data"),
            validation=params.data.validation,
            seed=params.seed,
        )


def test_the_whole_experiment(outcome):
    finding, shown = outcome
    table = finding.tables["methods"].set_index(["method", "training"])
    assert len(table) == len(shown.methods) == 5 * 2 + 2 + 1
    assert len(shown.test) == 15
    assert table.loc[("hog", "plain"), "clean"] > 0.7  # ten classes: guessing gives a tenth
    assert finding.details["absent"] == ["fashion_mnist"]
    assert set(finding.tables["transfer"]["classifier"]) == {"as_is", "refitted"}
    draws = finding.tables["draws"]
    # two draws of three methods under seven corruptions, and on one data set twice
    assert len(draws) == 2 * 3 * (7 + 2)
    first, second = (draws[draws["run"] == run]["accuracy"].to_list() for run in (0, 1))
    assert first != second
    assert set(captions(finding)) == {"robustness", "corruptions", "views"}


def random_lenet():
    return TrainedNetwork("lenet5", build_model("lenet5").eval(), Normalization(0.1, 0.3))


class TestFigures:
    def test_no_text_is_cut_off(self, outcome, images):
        finding, _ = outcome
        torch.manual_seed(0)
        seen = views(images[0], random_lenet(), 0)
        for figure in (
            figures.robustness.draw(finding.tables["robustness"]),
            figures.corruptions.draw(images[0], strips(images[0], 0), "a digit"),
            figures.views.draw(seen, "LeNet-5", "a digit"),
        ):
            width, height = figure.get_size_inches()
            ink = figure.get_tightbbox()  # inches
            assert min(ink.x0, ink.y0) >= 0
            assert ink.x1 <= width
            assert ink.y1 <= height

    def test_curves_are_the_tables_on_one_honest_scale(self):
        table = pd.DataFrame({"severity": [0.0, 1.0, 4.0], "accuracy": [1.0, 0.9, 0.2]})
        table = table.assign(method="hog", training="augmented", corruption="shift", images=400)
        panel, *_, legend = figures.robustness.draw(table).axes
        (line,) = panel.lines
        assert line.get_xdata().tolist() == [0, 1, 4]
        assert line.get_ydata().tolist() == [1.0, 0.9, 0.2]
        assert panel.get_ylim() == (0, 1)
        assert [text.get_text() for text in legend.get_legend().texts] == ["HOG"]

    def test_an_image_without_keypoints_can_be_drawn(self):
        blank = np.zeros((28, 28), dtype=np.uint8)
        seen = views(blank, random_lenet(), 0)
        assert len(seen["clean"]["keypoints"]) == 0
        assert figures.views.draw(seen, "LeNet-5", "nothing").axes
