"""What the tests of decoders share: drawn pairs, and the model folder they learn to write for."""

import pytest
import torch

from tests.trainers.drawn import draw_pairs
from tests.trainers.drawn_captions import drawn_bundle
from trainers.captioning import forget_run
from trainers.data import PairSplits


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Models this small are slower on several threads, and much slower when others use the cores too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def drawn_splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    return PairSplits(draw_pairs(folder / "train", 32), draw_pairs(folder / "val", 12, seed=1))


@pytest.fixture(scope="session")
def drawn_model(drawn_splits, tmp_path_factory):
    """The model folder of random encoders."""
    return drawn_bundle(drawn_splits.train, tmp_path_factory.mktemp("bundle") / "model")


@pytest.fixture
def bundle(drawn_model):
    """That model folder, without what runs of other tests left beside it."""
    forget_run(drawn_model)
    yield drawn_model
    forget_run(drawn_model)
