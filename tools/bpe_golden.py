#!/usr/bin/env python3
"""Vocabularies learned by Hugging Face's tokenizers (pip install tokenizers), to compare ours with.

    tools/bpe_golden.py make FOLDER                writes the texts and goldens of tests/golden/data
    tools/bpe_golden.py compare TRIB TEXT VOCAB MIN_FREQUENCY [SPECIAL...]
                                                   learns TEXT with both, and encodes it with both
    tools/bpe_golden.py random TRIB COUNT          the same for COUNT random texts

A text is one sequence for the trainer (train_from_iterator), not one for each line.
"""
import json
import random
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer


def learn(text, vocabulary, min_frequency, special):
    """The tokenizer, its tokens by id, and its merges as "left right" by rank."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=min_frequency,
        special_tokens=[AddedToken(token, special=True) for token in special],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return tokenizer, tokens, merges


def read_gguf(path):
    """The metadata of a GGUF file."""
    data = path.read_bytes()
    kinds = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    at = 24

    def take(layout):
        nonlocal at
        values = struct.unpack_from("<" + layout, data, at)
        at += struct.calcsize("<" + layout)
        return values

    def take_string():
        nonlocal at
        (length,) = take("Q")
        at += length
        return data[at - length : at].decode()

    values = {}
    for _ in range(struct.unpack_from("<Q", data, 16)[0]):
        key = take_string()
        (kind,) = take("I")
        if kind == 8:
            values[key] = take_string()
        elif kind == 9:
            element, count = take("IQ")
            if element == 8:
                values[key] = [take_string() for _ in range(count)]
            else:
                values[key] = list(take(f"{count}{kinds[element]}"))
        else:
            (values[key],) = take(kinds[kind])
    return values


def differs(trib, text, vocabulary, min_frequency, special):
    """What is different between the two, or None."""
    tokenizer, tokens, merges = learn(text, vocabulary, min_frequency, special)
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "text"), Path(folder, "vocabulary.gguf")
        source.write_bytes(text.encode())
        command = [trib, "tokenizer", "train", source, "-o", output, "--vocab", str(vocabulary)]
        command += ["--min-frequency", str(min_frequency)]
        if special:
            command += ["--special", ",".join(special)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        ours = read_gguf(output)
        if ours["tokenizer.ggml.tokens"] != tokens:
            return "the tokens"
        if ours["tokenizer.ggml.merges"] != merges:
            return "the merges"
        encoded = subprocess.run(
            [trib, "tokenize", output, source, "--no-special", "--parse-special"],
            check=True, capture_output=True,
        ).stdout
    if [int(token) for token in encoded.split()] != tokenizer.encode(text).ids:
        return "the ids of the text"
    print(f"{len(tokens)} tokens, {len(merges)} merges, {len(encoded.split())} ids: equal")
    return None


def random_text(generator):
    """Few letters in many arrangements: ties, overlaps, and tokens that arise in several ways."""
    letters = generator.choice(["ab", "abc", "aab ", "abcde'", "xyé ", "a1 .\n", "aaab\n\t "])
    words = ["".join(generator.choice(letters) for _ in range(generator.randint(1, 12))) for _ in range(40)]
    return generator.choice(["", " "]).join(generator.choice(words) for _ in range(generator.randint(1, 600)))


def golden_text():
    """Made-up words in several scripts, with numbers, marks and white space of all kinds."""
    generator = random.Random(20261125)
    syllables = "ka lo mi ren tu sha vel or an the in qu ét ñu öl ша ре ко ми ал νο λε ταμ 山 川 文 字 ก็ नि 🦙".split()
    words = ["".join(generator.choice(syllables) for _ in range(generator.randint(1, 4))) for _ in range(150)]
    parts = []
    for _ in range(900):
        word = words[min(int(generator.expovariate(0.04)), len(words) - 1)]
        word = generator.choice([word] * 6 + [word.upper(), word.title(), word + "'s", str(generator.randint(0, 9999))])
        parts.append(word + generator.choice([" "] * 12 + [", ", ". ", "; ", "  ", "\n", "\n\n", "\t", "!? ", "\u3000"]))
    return "".join(parts)


GOLDENS = {
    "plain": (400, 0, []),
    "special": (600, 2, ["<|endoftext|>", "<pad>"]),
    "exhausted": (100000, 3, []),
}


def make(folder):
    text = golden_text()
    folder.joinpath("bpe_text.txt").write_bytes(text.encode())
    for name, (vocabulary, min_frequency, special) in GOLDENS.items():
        tokenizer, tokens, merges = learn(text, vocabulary, min_frequency, special)
        golden = {
            "vocabulary": vocabulary, "min_frequency": min_frequency, "special": special,
            "tokens": tokens, "merges": merges, "ids": tokenizer.encode(text).ids,
        }
        path = folder.joinpath(f"bpe_{name}.json")
        path.write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")


def main(arguments):
    command = arguments[0] if arguments else ""
    if command == "make" and len(arguments) == 2:
        make(Path(arguments[1]))
    elif command == "compare" and len(arguments) >= 5:
        text = Path(arguments[2]).read_bytes().decode()
        difference = differs(arguments[1], text, int(arguments[3]), int(arguments[4]), arguments[5:])
        if difference:
            sys.exit(f"{arguments[2]}: {difference} differ")
    elif command == "random" and len(arguments) == 3:
        for seed in range(int(arguments[2])):
            generator = random.Random(seed)
            text = random_text(generator)
            difference = differs(arguments[1], text, generator.choice([260, 280, 320, 400]), generator.choice([0, 2]), [])
            if difference:
                sys.exit(f"seed {seed}: {difference} differ")
    else:
        sys.exit(__doc__)


main(sys.argv[1:])
