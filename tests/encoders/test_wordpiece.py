import subprocess
import sys

from encoders.text import train_wordpiece

TRAIN = """
from encoders.text import train_wordpiece
import hashlib
captions = ["axial CT of the brain", "sagittal MR of the spine", "chest radiograph, PA", "ménière"] * 3
print(hashlib.sha256(train_wordpiece(captions, 90, 16).to_bytes()).hexdigest())
"""


def test_common_words_become_one_token(captions):
    tokenizer = train_wordpiece(captions * 5, 400, 16)
    ids, _ = tokenizer(["glioblastoma"])
    assert ids.shape == (1, 3)


def test_case_and_accents_do_not_matter(tokenizer):
    ids, _ = tokenizer(["Axial CT", "áxial ct"])
    assert ids[0].tolist() == ids[1].tolist()


def test_unknown_letters_are_one_unknown_token(tokenizer):
    ids, _ = tokenizer(["日"])
    assert ids[0, 1] == 1


def test_the_vocabulary_keeps_its_limit(captions):
    assert train_wordpiece(captions, 100, 16).vocab_size == 100


def test_the_order_of_the_captions_does_not_matter(captions):
    assert (
        train_wordpiece(captions, 120, 16).to_bytes() == train_wordpiece(captions[::-1], 120, 16).to_bytes()
    )


def test_every_process_trains_the_same_vocabulary():
    """The library's own trainer gives another one each time: it walks hash maps with random seeds."""
    runs = {
        subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    }
    assert len(runs) == 1
