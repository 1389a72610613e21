"""Run a GGUF in llama.cpp and print the state of each text's last token; ``llama_cpp.py`` starts this.

Run as ``python llama_states.py FILE.gguf [--float32 COPY.gguf]`` in an environment with ``xllamacpp`` and ``gguf``:
nothing of the course is needed there. It reads a JSON list, texts or lists of token ids. With ``--float32``
the weights are taken out of their few bits first, and llama.cpp computes with the copy.
"""

import argparse
import json
import os
import sys
from pathlib import Path


def whole_copy(source: Path, target: Path) -> Path:
    """Write the same model with float32 weights: what llama.cpp makes of the few bits, and no activation rounded."""
    import gguf

    reader = gguf.GGUFReader(source)
    architecture = reader.get_field("general.architecture").contents()
    writer = gguf.GGUFWriter(target, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        value = 0 if name == "general.file_type" else field.contents()  # 0: all float32
        writer.add_key_value(name, value, field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def states(file: Path, inputs: list, threads: int) -> list[list[float]]:
    """Return the last token's state after the final norm, not scaled to unit length, of every input."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    params.embd_normalize = -1
    params.n_ctx = params.n_batch = params.n_ubatch = 512
    params.n_parallel = 1
    params.cpuparams.n_threads = threads
    server = xllamacpp.Server(params)
    answer = server.handle_embeddings({"input": inputs, "encoding_format": "float"})
    return [entry["embedding"] for entry in sorted(answer["data"], key=lambda entry: entry["index"])]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--float32", type=Path, help="write a copy with float32 weights here, and run that")
    given = parser.parse_args()
    file = whole_copy(given.file, given.float32) if given.float32 else given.file
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever llama.cpp prints stays out of the answer
    with answer:
        json.dump(states(file, json.load(sys.stdin), threads=1), answer)
