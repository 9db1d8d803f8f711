#!/usr/bin/python3
"""Images a second of Binade and of PyTorch on the same CPU, in the same run: MLP and LeNet-5, batch 256, FP32, SGD with
momentum. Prints medians and their ratio; asserts nothing.

    benchmark_torch.py BINADE [--device ID]... [--data DATA] [--epochs N] [--rounds N]

Rounds alternate between the two, so that whatever else the machine does meets both.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

import torch
from torch import nn

BATCH = 256
TRAIN_IMAGES = 60000


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(),
                         nn.Linear(512, 10))


def lenet():
    return nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
                         nn.Linear(84, 10))


class Torch:
    """Trains on bytes as Binade does: gathers a shuffled batch, normalises it, steps. Made-up images take as long as
    real ones."""

    def __init__(self, make):
        torch.manual_seed(1)
        self.model = make()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.images = torch.randint(0, 256, (TRAIN_IMAGES, 1, 28, 28), dtype=torch.uint8)
        self.labels = torch.randint(0, 10, (TRAIN_IMAGES,))

    def epoch(self):
        order = torch.randperm(TRAIN_IMAGES)
        times = []
        for first in range(0, TRAIN_IMAGES - BATCH + 1, BATCH):
            begin = time.perf_counter()
            rows = order[first:first + BATCH]
            x = (self.images[rows].float() / 255 - 0.286) / 0.353
            loss = nn.functional.cross_entropy(self.model(x), self.labels[rows])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            times.append(time.perf_counter() - begin)
        return BATCH / statistics.median(times)


def binade(options, model, device):
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([options.binade, 'train', '--json', '--quiet', '--data', options.data, '--model', model,
                               '--device', device, '--epochs', str(options.epochs), '--batch', str(BATCH), '--output',
                               folder], check=True, text=True, stdout=subprocess.PIPE)
    return BATCH / json.loads(done.stdout.splitlines()[-1])['step_ms'] * 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('binade')
    parser.add_argument('--device', action='append', help='default: every OpenCL and Vulkan device')
    parser.add_argument('--data', default='fashion-mnist', help='what Binade trains on')
    parser.add_argument('--epochs', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=3)
    options = parser.parse_args()
    devices = options.device
    if not devices:
        found = json.loads(subprocess.run([options.binade, 'devices', '--json'], check=True, text=True,
                                          stdout=subprocess.PIPE).stdout)['devices']
        devices = [device['id'] for device in found if device['backend'] != 'reference']
    torch.set_num_threads(os.cpu_count()) # Debian's build begins with one
    print(f'PyTorch {torch.__version__}, {torch.get_num_threads()} threads; batch {BATCH}, FP32, median of '
          f'{options.rounds} rounds')
    print(f'{"model":8}{"device":12}{"binade img/s":>14}{"torch img/s":>14}{"ratio":>8}')
    for name, make in (('mlp', mlp), ('lenet', lenet)):
        peer = Torch(make)
        peer.epoch() # warm up
        speeds = {device: [] for device in devices}
        peer_speeds = []
        for _ in range(options.rounds):
            peer_speeds.append(peer.epoch())
            for device in devices:
                speeds[device].append(binade(options, name, device))
        theirs = statistics.median(peer_speeds)
        for device in devices:
            ours = statistics.median(speeds[device])
            print(f'{name:8}{device:12}{ours:14,.0f}{theirs:14,.0f}{ours / theirs:8.2f}')


if __name__ == '__main__':
    main()
