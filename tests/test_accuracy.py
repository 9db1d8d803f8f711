#!/usr/bin/env python3
"""One epoch of Fashion-MNIST on each OpenCL and Vulkan device, MLP and LeNet-5, in FP32, FP16 and mixed precision: test_accuracy.py BINADE

The bounds are what one epoch must reach: about 0.05 below what it does (docs/benchmarks.md), more than seeds differ by; a
network that does not learn stays at 0.1. Ends with `N passed, N failed`; 77 where
the data set is not installed."""
import json
import os
import subprocess
import sys
import tempfile

BOUNDS = {"mlp:784-512-512-10": 0.80, "lenet": 0.72}
PRECISIONS = ("fp32", "fp16", "mixed")


def main(binade):
    listed = subprocess.run([binade, "devices", "--json"], capture_output=True, text=True, check=True).stdout
    devices = [d["id"] for d in json.loads(listed)["devices"] if d["backend"] != "reference"]
    devices = [d for d in devices if d.endswith(":0")]  # one of each backend: the others differ in the driver only
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for device in devices:
            for model, bound in BOUNDS.items():
                for precision in PRECISIONS:
                    run = subprocess.run(
                        [binade, "train", "--data", "fashion-mnist", "--model", model, "--precision", precision, "--device",
                         device, "--epochs", "1", "--json", "--output", os.path.join(folder, "out")],
                        capture_output=True, text=True)
                    events = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
                    done = events[-1] if events and events[-1]["event"] == "done" else {}
                    accuracy = done.get("test_accuracy") or 0.0
                    good = run.returncode == 0 and accuracy >= bound
                    passed, failed = passed + good, failed + (not good)
                    print(f"{'ok' if good else 'FAIL'} {device} {model} {precision}: test accuracy {accuracy:.4f} (bound {bound}), "
                          f"{done.get('images_per_second') or 0:.0f} images/s {run.stderr.strip() if not good else ''}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    if not os.path.isdir("/usr/share/datasets/fashion-mnist"):
        print("the data set is not installed: package dataset-fashion-mnist")
        sys.exit(77)
    sys.exit(main(sys.argv[1]))
