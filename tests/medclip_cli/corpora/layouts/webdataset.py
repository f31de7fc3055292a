"""Two shards of somebody else: one described by JSON, one by plain text, named by split."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from tests.medclip_cli.cleaning.drawn import draw as draw_scan

TABLE = "train-000000.tar"


def draw(root: Path) -> None:
    picture = [draw_scan(root / "drawn.png", seed=seed).read_bytes() for seed in range(2)]
    (root / "drawn.png").unlink()
    described = json.dumps({"caption": "A mass.", "modality": "CT", "labels": "Mass|Edema"}).encode()
    pack(root / TABLE, {"a.json": described, "a.png": picture[0]})
    pack(root / "test-000000.tar", {"deep/b.png": picture[1], "deep/b.txt": b"Clear lungs."})


def pack(shard: Path, members: dict[str, bytes]) -> None:
    shard.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(shard, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
