#!/usr/bin/env bash
# The wheel alone, in an environment of its own outside the checkout, where torch cannot be imported:
# a caption, a search, a score, an index run on a CPU, and `import medclip_cli`.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

mkdir "$place/source"
git -C "$checkout" archive HEAD | tar -x -C "$place/source"  # an earlier build/ must not get into the wheel
"$python" -m venv "$place/venv"
"$place/venv/bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$place/dist" "$place/source"
"$place/venv/bin/python" -m pip install --quiet "$place"/dist/*.whl
echo "the base install takes $(du -sm "$place/venv" | cut -f1) MB"

mkdir "$place/work"
"$place/venv/bin/python" - "$checkout/tests/compatibility/data/old.tar.xz" "$place/work" <<'UNPACK'
import sys, tarfile
with tarfile.open(sys.argv[1]) as archive:
    archive.extractall(sys.argv[2], filter="data")
UNPACK
cd "$place/work"
export MEDCLIP_HOME="$place/home" XDG_CONFIG_HOME="$place/config"
medclip="$place/venv/bin/medclip"

for absent in torch torchvision transformers onnx onnxscript safetensors; do
    ! "$place/venv/bin/python" -c "import $absent" 2>/dev/null || { echo "$absent is installed"; exit 1; }
done
"$medclip" index corpus --model model --collection phantoms
"$medclip" caption corpus/images/images/phantom0000.png --method generate --json > caption.jsonl
"$medclip" search 'coronal MR scan with a large lesion' --json > found.json
"$medclip" score predictions.jsonl --no-meteor --json > scores.json
mkdir raw
cp corpus/images/images/phantom000[0-2].png raw
printf 'image,caption\nphantom000%d.png,"axial CT scan, %d"\n' 0 0 > raw/captions.csv
"$medclip" clean folder raw --out cleaned --json > cleaned.json
"$medclip" train confidence corpus --model model > /dev/null
"$medclip" doctor > /dev/null
"$place/venv/bin/python" - "$checkout" <<'API'
import json, sys
import medclip_cli as medclip

assert not medclip.__file__.startswith(sys.argv[1]), medclip.__file__
then = json.load(open(f"{sys.argv[1]}/tests/compatibility/data/answers.json"))
assert json.loads(open("caption.jsonl").read())["caption"] == then["caption generate"]["caption"]
assert [hit["id"] for hit in json.load(open("found.json"))] == [hit["id"] for hit in then["search words"]]
assert json.load(open("scores.json"))["scores"] == then["score"]["scores"]

image = "corpus/images/images/phantom0000.png"
with medclip.open_collection("phantoms") as collection:
    (answer,) = collection.caption([image], k=5)
    assert answer.caption == then["caption auto"]["caption"], answer.caption
    hits = collection.search("chest x-ray with effusion", where={"modality": "CT"})
    assert len(hits.to_pandas()) == len(hits) > 0
    corpus = medclip.Corpus.open("corpus")
    report = medclip.evaluate(corpus, collection, split="val", resamples=0, meteor=False)
    assert report.to_dict()["n"] == 12
assert medclip.load_model("model").embed_images([image]).shape == (1, 16)
assert "torch" not in sys.modules
API
# What needs the extra says so in one line, before any work.
if "$medclip" train encoders corpus --out trained 2> said; then echo "trained without torch?"; exit 1; fi
grep -q "pip install 'medclip-cli\[train\]'" said && test "$(wc -l < said)" = 1 && test ! -e trained || { cat said; exit 1; }
echo "the wheel works without torch"
