#!/usr/bin/env python3
"""Makes tests/golden/data/quantize.json: the type that llama.cpp gives each tensor of a model.

    pip install gguf cyllama
    python3 tools/quantize_golden.py TRIB >tests/golden/data/quantize.json

TRIB synth makes the models, whose shapes have something of everything: layers that get more bits,
queries that share values, an embedding that is the output, rows that no block suits. For each the
file holds the arguments of trib synth, the tensors' names, and by file type their types in the same
order: as [type, count] runs.
"""
import itertools
import json
import subprocess
import sys
import tempfile

from cyllama.llama import llama_cpp
from gguf import GGUFReader

# Names of file types and llama.cpp's numbers of them.
TYPES = {"f16": 1, "bf16": 32, "q8_0": 7, "q6_k": 18, "q5_k_m": 17, "q5_k_s": 16, "q5_1": 9,
         "q5_0": 8, "q4_k_m": 15, "q4_k_s": 14, "q4_1": 3, "q4_0": 2, "iq4_nl": 25, "iq4_xs": 30,
         "q3_k_l": 13, "q3_k_m": 12, "q3_k_s": 11, "q2_k": 10}

# layers, width, heads, kv_heads, head_dim, ffn, tied
SHAPES = {
    "grouped": [17, 256, 8, 2, 32, 512, False],
    "tied": [8, 256, 4, 2, 64, 352, True],
    "narrow": [4, 96, 3, 3, 32, 256, False],
}


def main():
    trib = sys.argv[1]
    llama_cpp.disable_logging()
    llama_cpp.ggml_backend_load_all()
    folder = tempfile.mkdtemp()
    shapes = {}
    for name, (layers, width, heads, kv_heads, head_dim, ffn, tied) in SHAPES.items():
        source, made = f"{folder}/in.gguf", f"{folder}/out.gguf"
        subprocess.run([trib, "synth", "tiny", source, "--type", "f32", "-L", str(layers), "-E",
                        str(width), "-H", str(heads), "-G", str(kv_heads), "-D", str(head_dim), "-F",
                        str(ffn)] + ["--tied"] * tied, check=True)
        names = [t.name for t in GGUFReader(source).tensors]
        shape = shapes[name] = {"shape": SHAPES[name], "tensors": len(names), "types": {}}
        for kind, number in TYPES.items():
            params = llama_cpp.LlamaModelQuantizeParams()
            params.ftype, params.nthread = number, 2
            llama_cpp.model_quantize(source, made, params)
            types = {t.name: t.tensor_type.name for t in GGUFReader(made).tensors}
            runs = [[stored, len(list(run))]
                    for stored, run in itertools.groupby(types[name] for name in names)]
            shape["types"][kind] = {"number": number, "runs": runs}
    json.dump({"ggml": llama_cpp.ggml_commit(), "shapes": shapes}, sys.stdout,
              separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
