#!/usr/bin/python3
"""Images a second of Binade and of PyTorch on the same CPU, in the same run, training in FP32 with SGD with momentum: MLP and
LeNet-5 at batch 256, ResNet-20 (apps/models/resnet.c) at batch 128. Prints medians and their ratio; asserts nothing.

    benchmark_torch.py BINADE [--device ID]... [--model NAME]... [--steps N] [--rounds N]

Rounds alternate between the two, so that whatever else the machine does meets both. PyTorch is measured with as many threads
as processors and with one, its convolutions in both memory layouts; ratios are to the fastest of these.
"""
import argparse
import json
import os
import pathlib
import statistics
import struct
import subprocess
import tempfile
import time

os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # threads that spin cost PyTorch several times its speed on a busy machine
import torch
from torch import nn

TEST_IMAGES = 256


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(),
                         nn.Linear(512, 10))


def lenet():
    return nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
                         nn.Linear(84, 10))


class Unit(nn.Module):
    """A residual unit with pre-activation."""

    def __init__(self, before, channels, stride):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(before), nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.projection = nn.Conv2d(before, channels, 1, stride) if before != channels else None

    def forward(self, x):
        h = torch.relu(self.norm1(x))
        y = self.conv2(torch.relu(self.norm2(self.conv1(h))))
        return y + (self.projection(h) if self.projection else x)


def resnet20():
    units = [Unit(16, 16, 1), Unit(16, 16, 1), Unit(16, 16, 1), Unit(16, 32, 2), Unit(32, 32, 1), Unit(32, 32, 1),
             Unit(32, 64, 2), Unit(64, 64, 1), Unit(64, 64, 1)]
    return nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), *units, nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(64, 10))


# The network, its images (channels, rows, columns), batch, and steps a round.
MODELS = {'mlp': (mlp, (1, 28, 28), 256, 234),
          'lenet': (lenet, (1, 28, 28), 256, 234),
          'resnet20': (resnet20, (3, 32, 32), 128, 20)}
LAYOUTS = {'channels first': torch.contiguous_format, 'channels last': torch.channels_last}


class Torch:
    """Trains on bytes as Binade does: gathers a shuffled batch, normalises it, steps. Made-up images take as long as real ones."""

    def __init__(self, make, shape, batch, steps, threads, layout):
        torch.manual_seed(1)
        self.batch, self.steps, self.threads, self.layout = batch, steps, threads, layout
        self.model = make().to(memory_format=layout)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.images = torch.randint(0, 256, (batch * steps, *shape), dtype=torch.uint8).to(memory_format=layout)
        self.labels = torch.randint(0, 10, (batch * steps,))

    def speed(self):
        torch.set_num_threads(self.threads)
        order = torch.randperm(len(self.labels))
        times = []
        for rows in order.split(self.batch):
            begin = time.perf_counter()
            x = ((self.images[rows].float() / 255 - 0.5) / 0.29).contiguous(memory_format=self.layout)
            loss = nn.functional.cross_entropy(self.model(x), self.labels[rows])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            times.append(time.perf_counter() - begin)
        return self.batch / statistics.median(times)


def write_images(folder, shape, count):
    """Made-up images as IDX files: rows, columns, channels."""
    channels, rows, columns = shape
    size = (rows, columns) if channels == 1 else (rows, columns, channels)
    for name, images in (('train', count), ('t10k', TEST_IMAGES)):
        for kind, dims in (('images-idx3', (images, *size)), ('labels-idx1', (images,))):
            values = torch.randint(0, 10 if kind == 'labels-idx1' else 256, dims, dtype=torch.uint8)
            header = struct.pack(f'>BBBB{len(dims)}I', 0, 0, 8, len(dims), *dims)
            (folder / f'{name}-{kind}-ubyte').write_bytes(header + values.numpy().tobytes())


def binade(program, model, batch, device, folder):
    done = subprocess.run([program, 'train', '--json', '--quiet', '--data', str(folder), '--model', model, '--device',
                           device, '--epochs', '1', '--batch', str(batch), '--lr', '0.01', '--output',
                           str(folder / 'run')], check=True, text=True, stdout=subprocess.PIPE)
    return batch / json.loads(done.stdout.splitlines()[-1])['step_ms'] * 1000


def compare(options, name, devices):
    make, shape, batch, steps = MODELS[name]
    steps = options.steps or steps
    peers = {}
    for threads in sorted({1, os.cpu_count()}):  # Debian's build begins with one
        for layout, memory_format in LAYOUTS.items():
            if name != 'mlp' or layout == 'channels first':
                peers[f'PyTorch, threads: {threads}, {layout}'] = Torch(make, shape, batch, steps, threads, memory_format)
    speeds = {row: [] for row in [*peers, *devices]}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_images(folder, shape, batch * steps)
        for _ in range(options.rounds):
            for row, peer in peers.items():
                speeds[row].append(peer.speed())
            for device in devices:
                speeds[device].append(binade(options.binade, name, batch, device, folder))
    best = max(statistics.median(speeds[row]) for row in peers)
    for row, all_rounds in speeds.items():
        images = statistics.median(all_rounds)
        print(f'{name:10}{row:42}{images:10,.0f}{images / best:8.2f}   '
              f'{" ".join(f"{one:,.0f}" for one in all_rounds)}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('binade')
    parser.add_argument('--device', action='append', help='default: every OpenCL and Vulkan device')
    parser.add_argument('--model', action='append', choices=MODELS, help='default: all')
    parser.add_argument('--steps', type=int, help='of a round')
    parser.add_argument('--rounds', type=int, default=3)
    options = parser.parse_args()
    devices = options.device
    if not devices:
        found = json.loads(subprocess.run([options.binade, 'devices', '--json'], check=True, text=True,
                                          stdout=subprocess.PIPE).stdout)['devices']
        devices = [device['id'] for device in found if device['backend'] != 'reference']
    print(f'PyTorch {torch.__version__}; FP32, medians of {options.rounds} rounds, then each round\n'
          f'{"model":10}{"":42}{"images/s":>10}{"ratio":>8}')
    for name in options.model or MODELS:
        compare(options, name, devices)


if __name__ == '__main__':
    main()
