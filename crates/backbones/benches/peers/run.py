"""Features a second: this engine against ONNX Runtime, OpenVINO and PyTorch, on the CPU.

    python3 crates/backbones/benches/peers/run.py --batches 1,16 --threads 2

Prints Markdown tables of images/s and of ratios. All compute in f32 the same four taps of the same
random weights (`torch.manual_seed(SEED); torchvision.models.NAME(weights=None)`) for the same images of
224 x 224: layer1 to layer4 of a residual network, the first four blocks of a transformer. Outputs are
compared once for each network and number of threads.

Each engine is a process of its own that waits while another measures. Turns alternate peer, ours,
peer, ours, ...; a turn gives the median time of its passes, a round has a turn of every peer, and what is
printed is the median over rounds, of ratios as well (of a peer's turn and ours right after it).

Peers come from `requirements.txt`, installed into `target/peers` at the first run; or set
BLEMISH_PEERS_PYTHON to a Python that has them. `--avx2` compares with PyTorch alone, both held to AVX2.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SEED = 0
NETWORKS = ["resnet18", "resnet50", "wide_resnet50_2", "vit_b_16", "vit_b_32"]
PEERS = ["onnxruntime", "openvino", "pytorch"]
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
"""What holds PyTorch and its libraries to AVX2."""


def python():
    """A Python that has the peers."""
    given = os.environ.get("BLEMISH_PEERS_PYTHON")
    if given:
        return given
    folder = TARGET / "peers"
    found = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([found, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
        (folder / "complete").touch()
    return str(found)


# What runs in the processes of the peers.


def images(n):
    """As in `examples/throughput.rs`."""
    import numpy as np

    i = np.arange(n * 3 * 224 * 224, dtype=np.uint64)
    hashed = ((i * 2654435761) % 2**32) >> 16
    return ((hashed % 257).astype(np.float32) / 64 - 2).reshape(n, 3, 224, 224)


def new_model(name):
    """torchvision's network, as deep as the taps, which it returns."""
    import torch
    import torchvision

    torch.manual_seed(SEED)
    whole = getattr(torchvision.models, name)(weights=None).eval()

    class Residual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = torch.nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
            self.layers = torch.nn.ModuleList([whole.layer1, whole.layer2, whole.layer3, whole.layer4])

        def forward(self, x):
            x, found = self.stem(x), []
            for layer in self.layers:
                x = layer(x)
                found.append(x)
            return tuple(found)

    class Transformer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.projection, self.class_token = whole.conv_proj, whole.class_token
            self.positions = whole.encoder.pos_embedding
            self.layers = torch.nn.ModuleList(list(whole.encoder.layers)[:4])

        def forward(self, x):
            x = self.projection(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
            found = []
            for layer in self.layers:
                x = layer(x)
                found.append(x)
            return tuple(found)

    return (Transformer() if name.startswith("vit") else Residual()).eval()


def export(name, path):
    """The network in ONNX, for any number of images."""
    import torch

    taps = ["tap0", "tap1", "tap2", "tap3"]
    torch.onnx.export(
        new_model(name), (torch.from_numpy(images(2)),), path, dynamo=False, opset_version=17,
        input_names=["images"], output_names=taps,
        dynamic_axes={tap: {0: "batch"} for tap in ["images", *taps]},
    )


def onnxruntime_runner(_name, path, threads, batch):
    """A pass, and what gives its outputs."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_free_dimension_override_by_name("batch", batch)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x = images(batch)
    # Outputs that are there, so that no time goes into fresh memory.
    binding = session.io_binding()
    binding.bind_cpu_input("images", x)
    outputs = []
    for output in session.run(None, {"images": x}):
        value = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty_like(output))
        binding.bind_ortvalue_output(f"tap{len(outputs)}", value)
        outputs.append(value)
    return lambda: session.run_with_iobinding(binding), lambda: [o.numpy() for o in outputs]


def openvino_runner(_name, path, threads, batch):
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape([batch, 3, 224, 224])
    compiled = core.compile_model(model, "CPU", {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    })
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(images(batch)))

    def run():
        request.start_async()
        request.wait()

    return run, lambda: [request.get_output_tensor(i).data for i in range(4)]


def pytorch_runner(name, _path, threads, batch):
    import torch

    torch.set_num_threads(threads)
    model, x = new_model(name), torch.from_numpy(images(batch))
    if not name.startswith("vit"):
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    found = []

    def run():
        with torch.inference_mode():
            found[:] = model(x)

    return run, lambda: [tap.numpy() for tap in found]


def serve(peer, name, path, threads):
    """The protocol of `examples/throughput.rs`."""
    new, runners = globals()[f"{peer}_runner"], {}
    print("ready", flush=True)
    for line in sys.stdin:
        command, batch, argument = line.split()
        batch = int(batch)
        if batch not in runners:
            runners[batch] = new(name, path, threads, batch)
            runners[batch][0]()
        run, outputs = runners[batch]
        run()
        if command == "dump":
            with open(argument, "wb") as file:
                for tap in outputs():
                    channels_last = tap.transpose(0, 2, 3, 1) if tap.ndim == 4 else tap
                    file.write(channels_last.astype("<f4").tobytes())
            print("done", flush=True)
            continue
        times, start = [], time.perf_counter()
        while len(times) < 2 or time.perf_counter() - start < float(argument):
            before = time.perf_counter()
            run()
            times.append(time.perf_counter() - before)
        print(statistics.median(times), flush=True)


# What runs in the process that asks them.


class Engine:
    """A process that measures itself when told to."""

    def __init__(self, command, extra):
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **extra},
        )
        self.answer("ready")

    def answer(self, expected=""):
        # Libraries may say things of their own before.
        for line in self.process.stdout:
            if expected and line.startswith(expected):
                return line
            try:
                return float(line)
            except ValueError:
                continue
        raise SystemExit("an engine ended early; see its error above")

    def ask(self, line, expected=""):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer(expected)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def difference(name, batch, ours, theirs):
    """The largest over taps, relative to a tap's largest value."""
    import numpy as np

    a, b = np.fromfile(ours, "<f4"), np.fromfile(theirs, "<f4")
    assert a.shape == b.shape, (a.shape, b.shape)
    if name.startswith("vit"):
        lengths = [len(a) // 4] * 4
    else:
        # Sides halve and channels double.
        lengths = [len(a) * 8 // 15 >> i for i in range(4)]
    assert sum(lengths) == len(a) and len(a) % batch == 0
    cuts = np.cumsum(lengths)[:-1]
    return max(np.abs(p - q).max() / np.abs(q).max() for p, q in zip(np.split(a, cuts), np.split(b, cuts)))


def compare(options, peers, name, threads, folder):
    """Rows of (network, threads, batch, images/s by engine, ratios by peer), and differences by peer."""
    path = folder / f"{name}.onnx"
    if not path.exists() and set(peers) != {"pytorch"}:
        subprocess.run([sys.executable, __file__, "--export", name, path], check=True, stderr=subprocess.DEVNULL)
    binary = TARGET / "release" / "examples" / "throughput"
    extra = AVX2 if options.avx2 else {}
    engines = {"ours": Engine([binary, name, SEED, threads] + (["avx2"] if options.avx2 else []), {})}
    for peer in peers:
        engines[peer] = Engine([sys.executable, __file__, "--serve", peer, name, path, threads], extra)
    differences = {}
    for engine in engines:
        file = folder / f"{engine}.f32"
        engines[engine].ask(f"dump 2 {file}", "done")
        if engine != "ours":
            differences[engine] = difference(name, 2, folder / "ours.f32", file)
    rows = []
    for batch in options.batches:
        rates, ratios = {engine: [] for engine in engines}, {peer: [] for peer in peers}
        for peer in peers:
            engines[peer].ask(f"measure {batch} 0")  # compiles the model for this batch
        for turn in range(options.rounds):
            for peer in peers[turn % len(peers):] + peers[:turn % len(peers)]:
                for engine in [peer, "ours"]:
                    time.sleep(0.05)  # threads that still wait for work by spinning
                    rates[engine].append(batch / engines[engine].ask(f"measure {batch} {options.seconds}"))
                ratios[peer].append(rates["ours"][-1] / rates[peer][-1])
        rows.append((name, threads, batch, rates, ratios))
        print(f"{name}, {threads} threads, batch {batch}: " + ", ".join(
            f"{engine} {statistics.median(rate):.1f}" for engine, rate in rates.items()), file=sys.stderr)
    for engine in engines.values():
        engine.close()
    return rows, differences


def report(peers, rows, differences):
    titles = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "pytorch": "PyTorch"}
    names = [titles[peer] for peer in peers]
    print("| network | threads | batch | Blemish | " + " | ".join(names) + " | "
          + " | ".join(f"/ {n}" for n in names) + " |")
    print("|---|--:|--:|" + "--:|" * (1 + 2 * len(peers)))
    for name, threads, batch, rates, ratios in rows:
        cells = [f"{statistics.median(rates[engine]):.1f}" for engine in ["ours", *peers]]
        cells += [f"**{statistics.median(ratios[peer]):.2f}** ({min(ratios[peer]):.2f}-{max(ratios[peer]):.2f})"
                  for peer in peers]
        print(f"| {name} | {threads} | {batch} | " + " | ".join(cells) + " |")
    print("\nLargest difference of outputs, relative to a tap's largest value: " + ", ".join(
        f"{titles[peer]} {max(d[peer] for d in differences):.1e}" for peer in peers) + ".")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(n) for n in text.split(",")]
    words = lambda text: text.split(",")
    parser.add_argument("--networks", type=words, default=["resnet18", "resnet50", "vit_b_16", "vit_b_32"])
    parser.add_argument("--batches", type=numbers, default=[1, 8, 16, 32])
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--peers", type=words, default=PEERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="least length of a turn")
    parser.add_argument("--avx2", action="store_true", help="against PyTorch alone, both with AVX2")
    options = parser.parse_args()
    assert set(options.networks) <= set(NETWORKS) and set(options.peers) <= set(PEERS), "an unknown name"
    peers = ["pytorch"] if options.avx2 else options.peers
    build = ["cargo", "build", "--release", "-q", "-p", "blemish-backbones", "--example", "throughput"]
    if "BLEMISH_PEERS_BUILT" not in os.environ:
        subprocess.run(build, cwd=ROOT, check=True)
    folder = TARGET / "peers-onnx"
    folder.mkdir(parents=True, exist_ok=True)
    rows, differences = [], []
    for name in options.networks:
        for threads in options.threads:
            found, apart = compare(options, peers, name, threads, folder)
            rows += found
            differences.append(apart)
    report(peers, rows, differences)
    for apart in differences:
        assert max(apart.values()) < 1e-4, "the engines do not compute the same"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--export"]:
        export(*sys.argv[2:4])
    elif sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
    elif "BLEMISH_PEERS_INSIDE" in os.environ:
        main()
    else:
        os.environ["BLEMISH_PEERS_INSIDE"] = "1"
        chosen = python()
        os.execv(chosen, [chosen, str(HERE / "run.py"), *sys.argv[1:]])
