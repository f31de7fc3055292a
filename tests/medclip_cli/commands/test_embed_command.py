"""`medclip embed`: vectors and ids in a file, and an exit code for what could not be read."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from medclip_cli.models import load_model


@pytest.fixture
def embed(demo):
    def embed(*arguments, **more):
        return demo.medclip("embed", *arguments, "--model", demo.model, **more)

    return embed


def test_images_become_unit_vectors_in_their_order(demo, embed, tmp_path):
    scans = sorted((demo.raw / "images").glob("*.png"))[:3]
    done = embed(*scans, tmp_path / "gone.png", "--out", tmp_path / "v.parquet", "--batch-size", 2)
    assert done.code == 3
    assert "gone.png" in done.err
    table = pq.read_table(tmp_path / "v.parquet")
    assert table.column_names == ["id", "vector"]
    assert table["id"].to_pylist() == [str(scan) for scan in scans]
    vectors = np.array(table["vector"].to_pylist(), dtype=np.float32)
    expected = [one.vector for one in load_model(demo.model).embed_files(scans)]
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert (tmp_path / "v.parquet").stat().st_mode & 0o777 == 0o600


def test_texts_become_vectors_and_ids_beside_them(demo, embed, tmp_path):
    done = embed("--texts", "-", "--out", tmp_path / "v.npy", stdin="axial CT\n\n sagittal MR \n")
    assert (done.code, done.out) == (0, "")
    vectors = np.load(tmp_path / "v.npy")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(
        vectors, load_model(demo.model).embed_texts(["axial CT", "sagittal MR"]), atol=1e-5
    )
    assert (tmp_path / "v.ids.txt").read_text().splitlines() == ["axial CT", "sagittal MR"]


def test_the_model_is_that_of_the_collection_where_none_is_named(demo, tmp_path):
    done = demo.medclip("embed", demo.scan, "--collection", "phantoms", "--out", tmp_path / "v.npy")
    assert done.code == 0
    assert np.load(tmp_path / "v.npy").shape == (1, load_model(demo.model).dim)


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("a.png", "--out", "v.csv"), 2, "'v.csv'"),
        (("a.png", "--texts", "b.txt"), 2, "texts"),
        ((), 2, "no image is named"),
        (("gone.png", "--out", "{folder}/v.npy"), 1, "gone.png"),
        (("--texts", "{folder}/gone.txt", "--out", "{folder}/v.npy"), 1, "gone.txt"),
    ],
)
def test_what_cannot_be_embedded_is_named(embed, tmp_path, arguments, code, named):
    done = embed(*(argument.format(folder=tmp_path) for argument in arguments))
    assert done.code == code
    assert named in done.err
    assert not list(tmp_path.glob(".*"))
