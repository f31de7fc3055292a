"""Texts that are not UTF-8: recognised or refused, never noise."""

from __future__ import annotations

from pathlib import Path

import pytest

from medclip_cli.corpora.encodings import encoding_of
from medclip_cli.corpora.notes import noting
from medclip_cli.corpora.tables import read_table
from medclip_cli.errors import CorpusError

WESTERN = (
    *("Ménière’s disease", "größer als 3 cm", "OBSERVAÇÃO: SECÇÃO", "riñón", "créées", "säätöä", "l’été"),
    *(
        "« traité »",
        "10 µm ± 2",
        "30 °C",
        "naïve",
        "Ærø",
        "Ångström",
        "Ödem",
        "ÖDEM",
        "Œdème",
        "à",
        "ÜBERMÄßIG",
    ),
    *("Läsion … “links” – 3 cm²", "a×b", "Größe Ø 3", "“normal”", "¿Es normal?"),
)
CHINESE = (
    "胸部正位片 未见异常",
    "肺炎",
    "image,描述\na.png,左肺下叶见结节影,大小约5mm",
    "患者,男,肝脏多发囊肿",
)
JAPANESE = (
    "胸部正面像",
    "レントゲン",
    "右肺に結節を認める。",
    "異常なし",
    "image,説明\na.png,CT検査で肝臓に腫瘤",
)
OTHERS = (
    *(("흉부 방사선 사진, 정상 소견", "euc_kr"), ("胸部X光片 未見異常 右上肺葉結節", "big5")),
    *(("Рентген грудной клетки без патологии", "cp1251"), ("右肺に結節を認める。", "euc_jp")),
    *(("ακτινογραφία θώρακος φυσιολογική", "cp1253"), ("zdjęcie, szczegół płuca", "cp1250")),
    *(("lésion hépatique, œdème", "mac_roman"), ("lésion hépatique", "cp850"), ("рентген грудной", "koi8-r")),
)


@pytest.mark.parametrize("text", WESTERN)
def test_western(text: str) -> None:
    assert encoding_of(text.encode("cp1252")) == "cp1252"


@pytest.mark.parametrize("text", CHINESE)
@pytest.mark.parametrize("encoding", ["gbk", "gb18030", "gb2312"])
def test_chinese(text: str, encoding: str) -> None:
    assert encoding_of(text.encode(encoding)) == "gb18030"


@pytest.mark.parametrize("text", JAPANESE)
def test_japanese(text: str) -> None:
    assert encoding_of(text.encode("shift_jis")) == "cp932"


@pytest.mark.parametrize(("text", "encoding"), OTHERS)
def test_others_are_refused(tmp_path: Path, text: str, encoding: str) -> None:
    assert encoding_of(text.encode(encoding)) is None
    (tmp_path / "t.csv").write_bytes(b"image,caption\na.png,x\nb.png," + text.encode(encoding) + b"\n")
    with pytest.raises(
        CorpusError, match=r"t\.csv, line 3: not UTF-8, and no other .*save the file as UTF-8"
    ):
        list(read_table(tmp_path / "t.csv"))


def test_utf8_with_a_damaged_byte_is_refused() -> None:
    assert encoding_of("Ménière ".encode() + b"\xe9 x") is None


def test_what_is_recognised_is_said(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("image,caption\na.png,胸部正位片\nb.png,未见异常\n".encode("gbk"))
    with noting() as notes:
        assert [row.get("caption") for row in read_table(tmp_path / "t.csv")] == ["胸部正位片", "未见异常"]
    assert notes == [f"{tmp_path}/t.csv is read as GBK: 2 lines with more than ASCII"]
