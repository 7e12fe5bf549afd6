#!/usr/bin/env python3
"""Folders as downloaded from Hugging Face, with random weights, to compare ours with.

    tools/hf_golden.py make TEXT FOLDER      writes the tokenizers and goldens of tests/golden/data/hf
    tools/hf_golden.py compare TRIB TEXT [PYTHON]
        makes a model of every architecture and compares: ids with tokenizers; and, with a PYTHON that
        has cyllama (llama.cpp), its logits of what `trib convert` writes with those of transformers; and
        the loss of the text, by the folder itself, with that of transformers
    tools/hf_golden.py logits MODEL ID...    what PYTHON is started with

Needs torch, transformers, tokenizers and sentencepiece.
"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

STRINGS = [
    "", " ", "Hello, world!", "  two  spaces ", "\n\n tabs\t\tand\r\nlines \n", "I'm, we'LL; they've 12345 of 3.14",
    "caf\u00e9 na\u00efve \u00fcber", "\u4f60\u597d\uff0c\u4e16\u754c \u3053\u3093\u306b\u3061\u306f", "emoji \U0001f999\U0001f680!",
    "a" * 40, "CamelCaseWord snake_case_word x+=y; // comment", "<s>not special</s>",
]


def texts_of(path):
    text = Path(path).read_text(encoding="utf-8")
    return STRINGS + [text] + [line for line in text.split("\n") if line][:30]


# ---- Tokenizers, trained on the text ----

def byte_level(text, steps, whole_words=False, template=False, normalizer=None):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    tokenizer = Tokenizer(models.BPE(ignore_merges=whole_words))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(step), "isolated") if isinstance(step, str) else step for step in steps])
    if len(steps) == 1 and not isinstance(steps[0], str):
        tokenizer.pre_tokenizer = steps[0]
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<|begin|>", "<|end|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([text], trainer)
    tokenizer.add_tokens(["<tool>"])
    if template:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    return tokenizer, {"bos_token": "<|begin|>", "eos_token": "<|end|>"}


def sentencepiece_model(text, prefix=True):
    import sentencepiece
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "text").write_text(text, encoding="utf-8")
        sentencepiece.SentencePieceTrainer.Train(
            input=f"{folder}/text", model_prefix=f"{folder}/m", vocab_size=600, model_type="bpe", byte_fallback=True,
            character_coverage=0.99, add_dummy_prefix=prefix, remove_extra_whitespaces=False,
            normalization_rule_name="identity", allow_whitespace_only_pieces=True, minloglevel=2)
        return Path(folder, "m.model").read_bytes()


def pieces_of(model):
    import sentencepiece
    made = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [(made.id_to_piece(i), made.get_score(i)) for i in range(made.vocab_size())]


def merges_of(pieces):
    """Every way to make a piece of two others, the best pieces first: as converters make them."""
    vocab = {piece: i for i, (piece, _) in enumerate(pieces)}
    merges = []
    for piece, score in pieces:
        ways = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in vocab and piece[i:] in vocab]
        merges += [(-score, *way) for way in sorted(ways, key=lambda way: (vocab[way[0]], vocab[way[1]]))]
    return [(left, right) for _, left, right in sorted(merges, key=lambda merge: merge[0])]


def sentencepiece_like(model, style):
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    pieces = pieces_of(model)
    vocab = {piece: i for i, (piece, _) in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab, merges_of(pieces), byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    if style == "llama":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    elif style == "metaspace":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("\u2581", "first", False)
    else:
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    if style == "phi-3":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True, rstrip=True)
                                      for t in ("<|endoftext|>", "<|user|>", "<|end|>")])
        return tokenizer, {"bos_token": "<s>", "eos_token": "<|endoftext|>", "unk_token": "<unk>"}
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def wordpiece(text):
    from tokenizers import BertWordPieceTokenizer
    made = BertWordPieceTokenizer(lowercase=True)
    made.train_from_iterator([text], vocab_size=400, show_progress=False)
    return made._tokenizer, {"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "pad_token": "[PAD]",
                             "mask_token": "[MASK]"}


TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT_4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*%s|%s"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*" + TAIL)
# Those with case, of the alphabets and the Unicode version that DeepSeek's first models were made with.
DEEPSEEK_LETTERS = (
    "A-Za-z\xb5\xc0-\xd6\xd8-\xf6\xf8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481"
    "\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf"
    "\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d"
    "\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-"
    "\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113"
    "\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149"
    "\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"
    "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a"
    "\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-"
    "\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943")
ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"


def tokenizers_of(text):
    """Every kind by name: a tokenizer, what tokenizer_config.json says, and files besides."""
    from tokenizers import normalizers, pre_tokenizers
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = pre_tokenizers.Digits(individual_digits=True)
    model, bare = sentencepiece_model(text), sentencepiece_model(text, prefix=False)
    return {
        "gpt-2": (*byte_level(text, [whole]), {}),
        "starcoder": (*byte_level(text, [digits, whole]), {}),
        "llama-bpe": (*byte_level(text, [GPT_4 % r"\p{N}{1,3}", plain], True, True), {}),
        "dbrx": (*byte_level(text, [GPT_4 % r"\p{N}{1,3}", plain]), {}),
        "qwen2": (*byte_level(text, [GPT_4 % r"\p{N}", plain], normalizer=normalizers.NFC()), {}),
        "gpt-4o": (*byte_level(text, [CASED % (ENDING, ENDING, r"\p{N}{1,3}"), plain]), {}),
        "tekken": (*byte_level(text, [CASED % ("", "", r"\p{N}"), plain], True, True), {}),
        "deepseek-coder": (*byte_level(text, ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
                                              digits, plain]), {}),
        "deepseek-llm": (*byte_level(text, ["[\r\n]", rf"\s?[{DEEPSEEK_LETTERS}]+",
                                            "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$",
                                            "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", digits, plain]), {}),
        "falcon": (*byte_level(text, [pre_tokenizers.Punctuation("contiguous"), whole,
                                      pre_tokenizers.Digits(individual_digits=False), "[0-9][0-9][0-9]"]), {}),
        "deepseek-v3": (*byte_level(text, [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
                                           r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
                                           r"| ?[\p{P}\p{S}]+[\r\n]*" + TAIL, plain]), {}),
        "llama": (*sentencepiece_like(model, "llama"), {}),
        "llama-model": (*sentencepiece_like(model, "llama"), {"tokenizer.model": model}),
        "phi-3": (*sentencepiece_like(model, "phi-3"), {"tokenizer.model": model}),
        "metaspace": (*sentencepiece_like(model, "metaspace"), {}),
        "gemma": (*sentencepiece_like(bare, "gemma"), {}),
        "bert": (*wordpiece(text), {}),
    }


# ---- Models ----

def models_of(vocabulary):
    """Every architecture by name: its configuration and the tokenizer that suits it."""
    import transformers as t
    size = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                max_position_embeddings=256)
    grouped = dict(size, num_key_value_heads=2)
    llama3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 64}
    long = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0 + 0.1 * i for i in range(8)],
            "long_factor": [2.0 + 0.3 * i for i in range(8)], "original_max_position_embeddings": 64}
    made = {
        "llama": (t.LlamaConfig(**grouped, attention_bias=True, tie_word_embeddings=False), "llama"),
        "llama3": (t.LlamaConfig(**grouped, head_dim=32, rope_parameters=llama3), "llama-bpe"),
        "linear": (t.LlamaConfig(**grouped, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}), "llama"),
        "mistral": (t.MistralConfig(**grouped, sliding_window=None), "tekken"),
        "qwen2": (t.Qwen2Config(**grouped, tie_word_embeddings=True), "qwen2"),
        "qwen2-yarn": (t.Qwen2Config(**grouped, rope_parameters={
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 1e4}), "qwen2"),
        "qwen3": (t.Qwen3Config(**grouped, head_dim=32), "qwen2"),
        "gemma2": (t.Gemma2Config(**grouped, head_dim=32, query_pre_attn_scalar=32, sliding_window=16), "gemma"),
        "gemma3": (t.Gemma3TextConfig(**dict(grouped, num_hidden_layers=7), head_dim=32, query_pre_attn_scalar=32,
                                      sliding_window=16), "gemma"),
        "gemma3-images": (t.Gemma3Config(
            text_config=dict(grouped, num_hidden_layers=7, head_dim=32, query_pre_attn_scalar=32, sliding_window=16,
                             vocab_size=vocabulary["gemma"], model_type="gemma3_text"),
            vision_config=dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
                               image_size=56, patch_size=14, model_type="siglip_vision_model"), mm_tokens_per_image=4), "gemma"),
        "phi3": (t.Phi3Config(**grouped, sliding_window=None, pad_token_id=0), "phi-3"),
        "phi3-long": (t.Phi3Config(**grouped, sliding_window=None, pad_token_id=0, rope_parameters=long,
                                   original_max_position_embeddings=64), "phi-3"),
        "gpt2": (t.GPT2Config(n_embd=64, n_layer=2, n_head=4, n_positions=256), "gpt-2"),
        "bert": (t.BertConfig(**size), "bert"),
    }
    for config, name in made.values():
        config.vocab_size = vocabulary[name]
    return made


CLASSES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
           "qwen3": "Qwen3ForCausalLM", "gemma2": "Gemma2ForCausalLM", "gemma3_text": "Gemma3ForCausalLM",
           "gemma3": "Gemma3ForConditionalGeneration",
           "phi3": "Phi3ForCausalLM", "gpt2": "GPT2LMHeadModel", "bert": "BertModel"}


def random_model(config, dtype):
    """Weights large enough that every part of the model shows in the logits."""
    import torch
    import transformers
    torch.manual_seed(1)
    config._attn_implementation = "eager"
    model = getattr(transformers, CLASSES[config.model_type])(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() > 1:
                p.normal_(0, 1 / p.shape[-1] ** 0.5)
            elif "norm" in name.lower() or "ln_" in name:
                p.add_(torch.randn_like(p) * 0.2)
            else:
                p.normal_(0, 0.2)
    return model.to(dtype)


def write_tokenizer(folder, tokenizer, settings, files):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    Path(folder, "tokenizer_config.json").write_text(json.dumps(settings))
    for name, content in files.items():
        Path(folder, name).write_bytes(content)


def write_folder(folder, model, parts, shards=None):
    model.save_pretrained(folder, **({"max_shard_size": shards} if shards else {}))
    write_tokenizer(Path(folder), *parts)


# ---- Comparing ----

def ids_differ(trib, model, tokenizer, texts):
    """The first text whose ids are not equal, or None. Special tokens are added, and not parsed."""
    tokenizer.encode_special_tokens = True
    for text in texts:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            out = subprocess.run([trib, "tokenize", model, file.name, "--json"], capture_output=True, text=True)
        if out.returncode:
            return out.stderr
        theirs = tokenizer.encode(text).ids
        ours = json.loads(out.stdout)["ids"]
        if ours != theirs:
            return f"{text[:60]!r}: ours {ours[:20]}, theirs {theirs[:20]}"
    return None


def their_logits(model, ids):
    import torch
    with torch.no_grad():
        out = model.float()(torch.tensor([ids]))
    return (out.logits if hasattr(out, "logits") else out.last_hidden_state)[0].double()


def llama_logits(path, ids, bert=False):
    """Of every position; of BERT the last layer."""
    from cyllama.llama import llama_cpp
    llama_cpp.disable_logging()
    llama_cpp.ggml_backend_load_all()

    class Model(llama_cpp.LlamaModel):
        @property
        def n_vocab(self):
            return self.get_vocab().n_vocab

    model = Model(path, verbose=False)
    params = llama_cpp.LlamaContextParams()
    params.n_ctx = params.n_batch = params.n_ubatch = 256
    params.n_threads = params.n_threads_batch = 1
    params.type_k = params.type_v = 0
    params.flash_attn_type = 0
    params.embeddings = bert
    if bert:
        params.pooling_type = 0
    context = llama_cpp.LlamaContext(model, params, verbose=False)
    batch = llama_cpp.LlamaBatch(n_tokens=len(ids), embd=0, n_seq_max=1, verbose=False)
    for position, token in enumerate(ids):
        batch.add(token, position, [0], True)
    context.decode(batch)
    return [list(context.get_embeddings_ith(i) if bert else context.get_logits_ith(i)) for i in range(len(ids))]


def loss_of(model, ids, window):
    """Windows one after the other, each token predicted from those before it in its window."""
    import torch
    total, count = 0.0, 0
    for first in range(0, len(ids) - 1, window):
        targets = torch.tensor(ids[first + 1:first + 1 + window])
        logits = their_logits(model, ids[first:first + window])[:len(targets)]
        total -= torch.log_softmax(logits, -1)[torch.arange(len(targets)), targets].sum().item()
        count += len(targets)
    return total / count


def loss_differs(trib, folder, path, model):
    """Our loss of the text, from the folder itself, against theirs."""
    run = subprocess.run([trib, "eval", folder, path, "--json"], capture_output=True, text=True)
    if run.returncode:
        return True, run.stderr.strip()
    ours = json.loads(run.stdout)
    ids = json.loads(subprocess.run([trib, "tokenize", folder, path, "--json"], capture_output=True, text=True).stdout)
    theirs = loss_of(model, ids["ids"], ours["context"])
    return abs(ours["loss"] - theirs) > 1e-4 * theirs, f"loss {ours['loss']:.6f} here, {theirs:.6f} there"


def compare(trib, path, python):
    import torch
    import transformers
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    text = Path(path).read_text(encoding="utf-8")
    kinds, texts, failed = tokenizers_of(text), texts_of(path), 0
    vocabulary = {name: (parts[0].get_vocab_size() + 7) // 8 * 8 for name, parts in kinds.items()}
    with tempfile.TemporaryDirectory() as scratch:
        for name, (config, kind) in models_of(vocabulary).items():
            folder, out = Path(scratch, name), f"{scratch}/{name}.gguf"
            model = random_model(config, torch.float32)
            write_folder(folder, model, kinds[kind], "100KB" if name == "llama" else None)
            run = subprocess.run([trib, "convert", str(folder), out], capture_output=True, text=True)
            said = run.stderr.strip()
            ids = kinds[kind][0].encode(texts[12][:150]).ids[:100]
            if not run.returncode and python:
                run = subprocess.run([python, __file__, "logits", out, *map(str, ids)], capture_output=True, text=True)
                if run.returncode:
                    said = "llama.cpp: " + (run.stderr.strip().split("\n")[-1] or f"exit {run.returncode}")
                else:
                    theirs = their_logits(model, ids)
                    there = torch.tensor(json.loads(run.stdout.strip().split("\n")[-1]), dtype=torch.float64)
                    error = ((there[:, :theirs.shape[1]] - theirs).abs().max() / theirs.abs().max()).item()
                    # llama.cpp looks GELU up in a table of half-precision numbers, 5e-4 apart.
                    bound = 1e-3 if name in ("gemma2", "gemma3", "gemma3-images", "gpt2", "bert") else 2e-5
                    said = f"largest difference {error:.1e}" + ("" if error < bound else ", TOO LARGE")
                    run.returncode = error >= bound
            failed += bool(run.returncode)
            if name != "bert":
                wrong, loss = loss_differs(trib, str(folder), path, model)
                failed += wrong
                said += "; " + loss
            print(f"model {name:12} {said}", flush=True)
        for name, parts in kinds.items():
            family = "bert" if name == "bert" else "gpt2"
            config = models_of(vocabulary)[family][0]
            config.vocab_size = vocabulary[name]
            write_folder(Path(scratch, "t-" + name), random_model(config, torch.float16), parts)
            if name == "metaspace":  # puts no space before a text that begins with one: GGUF cannot say so
                texts = [text for text in texts if not text.startswith(" ")]
            wrong = ids_differ(trib, str(Path(scratch, "t-" + name)), parts[0], texts)
            failed += wrong is not None
            print(f"tokenizer {name:16} {wrong or 'ids equal'}")
    return failed


def make(path, target):
    """Folders without weights, which the tests make themselves, and the ids of the texts."""
    texts, ids = texts_of(path)[:20], {}
    for name, parts in tokenizers_of(Path(path).read_text(encoding="utf-8")).items():
        if name not in ("gpt-2", "llama-bpe", "falcon", "deepseek-llm", "llama", "llama-model", "gemma", "bert"):
            continue
        write_tokenizer(Path(target, name), *parts)
        parts[0].encode_special_tokens = True
        ids[name] = [parts[0].encode(text).ids for text in texts]
    Path(target, "expected.json").write_text(json.dumps({"texts": texts, "ids": ids}, separators=(",", ":")) + "\n")


def main():
    command, *rest = sys.argv[1:]
    if command == "logits":
        print("\n" + json.dumps(llama_logits(rest[0], [int(i) for i in rest[1:]], "bert" in rest[0])))
        return 0
    if command == "make":
        make(*rest)
        return 0
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return compare(rest[0], rest[1], rest[2] if len(rest) > 2 else None)


if __name__ == "__main__":
    sys.exit(main())
