#!/usr/bin/env python3
"""binade check with a kernel that is wrong on purpose (wrong_kernel.c): it is found, written down, gone round, and told.

    test_check.py BINADE BINADE_WRONG        77 where there is no CPU driver with contraction kernels of a kind known here
"""
import gzip
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

BINADE, WRONG = map(os.path.abspath, sys.argv[1:3])
VARIANTS = {'vulkan': 'simd', 'opencl': 'vector'} # what products of matrices use on CPU drivers
SIDE = 28


def run(program, *arguments, status=0, **env):
    done = subprocess.run([program, *map(str, arguments)], text=True, timeout=600, capture_output=True,
                          env=dict(os.environ, **env))
    assert done.returncode == status, f'status {done.returncode}, not {status}: {done.stdout[-2000:]} {done.stderr[-800:]}'
    return done.stdout


def make_data(folder):
    """Ten classes: a bright bar at a height of its own, in noise."""
    noise = random.Random(1)
    folder.mkdir()
    for name, count in (('train', 512), ('t10k', 128)):
        images = bytearray()
        for i in range(count):
            image = bytearray(noise.randrange(64) for _ in range(SIDE * SIDE))
            image[(2 + 2 * (i % 10)) * SIDE:(3 + 2 * (i % 10)) * SIDE] = bytes([255] * SIDE)
            images += image
        header = struct.pack('>4I', 0x803, count, SIDE, SIDE)
        (folder / f'{name}-images-idx3-ubyte.gz').write_bytes(gzip.compress(header + images))
        labels = bytes(i % 10 for i in range(count))
        (folder / f'{name}-labels-idx1-ubyte.gz').write_bytes(gzip.compress(struct.pack('>2I', 0x801, count) + labels))


def find_device():
    for device in json.loads(run(BINADE, 'devices', '--json'))['devices']:
        if device['usable'] and device['type'] == 'cpu' and device['backend'] in VARIANTS and \
                (device['backend'] == 'opencl' or 'llvmpipe' in device['name']):
            yield device


def accuracy(program, device, data, output, **env):
    out = run(program, 'train', '--device', device, '--precision', 'fp16', '--model', 'mlp:784-32-10', '--data', data,
              '--batch', 64, '--epochs', 3, '--on-nan', 'continue', '--output', output, '--json', **env)
    events = [json.loads(line) for line in out.splitlines()]
    return events[-1], events[0]


def main():
    devices = sorted(find_device(), key=lambda d: d['backend'] != 'vulkan') # which compiles faster
    if not devices:
        print('no CPU driver')
        return 77
    name, variant = devices[0]['id'], VARIANTS[devices[0]['backend']]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        os.environ['XDG_STATE_HOME'] = str(folder / 'state')
        make_data(folder / 'data')
        wrong = {'BINADE_WRONG_KERNEL': f'{variant}:f16'}

        # Found, told, and its remedy with it.
        document = json.loads(run(WRONG, 'check', '--quick', '--device', name, '--json', status=4, **wrong))
        device, = document['devices']
        assert device['verdict'] == 'wrong' and device['failed'] >= 1
        matmul, = (f for f in device['failures'] if f['case'].startswith('matmul') and f['case'].endswith('fp16'))
        assert f'contraction {variant} in f16' in matmul['remedy'] and 'the reference says' in matmul['message']
        assert all(f['remedy'] for f in device['failures'])
        assert device['wrong_elements']['fp16']['normal'] > 0 and device['wrong_elements']['fp32']['normal'] == 0

        # Written down, in a file that a person can read.
        file, = (folder / 'state' / 'binade' / 'quirks').iterdir()
        assert str(file) == device['quirks_file']
        quirks = json.loads(file.read_text())
        assert {'variant': variant, 'format': 'f16', 'accumulator': 'f32'} in quirks['wrong_variants'] and not quirks['wrong']
        print(f'ok  {name}: {variant} in f16 is found wrong and written to {file.name}')

        # Told by devices; and obeyed: with the wrong kernel in the program, training does what a right program does.
        told, = (d for d in json.loads(run(BINADE, 'devices', '--json'))['devices'] if d['id'] == name)
        assert f'contraction {variant} in f16' in told['quirks']
        good, start = accuracy(WRONG, name, folder / 'data', folder / 'a', **wrong)
        assert start['device']['quirks'] == told['quirks']
        right, _ = accuracy(BINADE, name, folder / 'data', folder / 'b')
        assert good['test_loss'] == right['test_loss'] and good['test_accuracy'] == right['test_accuracy'] > 0.9
        print(f"ok  training goes round it: accuracy {good['test_accuracy']}, as without the fault")
        bad, start = accuracy(WRONG, name, folder / 'data', folder / 'c', BINADE_QUIRKS='off', **wrong)
        assert not start['device']['quirks'] and bad['test_accuracy'] < 0.5
        print(f"ok  with BINADE_QUIRKS=off it does not: accuracy {bad['test_accuracy']}")

        # What has no remedy is said to have none, beside what is known already.
        device, = json.loads(run(WRONG, 'check', '--quick', '--device', name, '--json', status=4,
                                 BINADE_WRONG_KERNEL='exp'))['devices']
        failure, = device['failures']
        assert failure['remedy'] is None and '(exp)' in failure['message'] and 'unary' in failure['case']
        quirks = json.loads(file.read_text())
        assert len(quirks['wrong']) == 1 and quirks['wrong_variants']
        assert 'computes wrongly: unary' in run(BINADE, 'devices')
        print('ok  a wrong exp has no remedy, and is told')

        # What a kernel does beside its own work is left out alone.
        def find(kernels, *options):
            document = json.loads(run(WRONG, 'check', '--quick', '--device', name, *options, '--json', status=4,
                                      BINADE_WRONG_KERNEL=kernels))
            return document['devices'][0]['failures']

        if devices[0]['backend'] == 'vulkan':
            failures = find('last-group')
            remedies = {f['remedy'] for f in failures if f['case'].startswith('final sums')}
            assert remedies == {'last-group in f32 with f32 sums not used'}, failures
            assert {'variant': 'last-group', 'format': 'f32', 'accumulator': 'f32'} in \
                json.loads(file.read_text())['wrong_variants']
            print('ok  sums by a wrong last work-group are found and left to a kernel of their own')
            failures = find('column-sums')
            assert {f['remedy'] for f in failures if f['case'].startswith('columns')} == \
                {'contraction column-sums in f16 with f32 sums not used'}, failures
            assert {'variant': 'column-sums', 'format': 'f16', 'accumulator': 'f32'} in \
                json.loads(file.read_text())['wrong_variants']
            print('ok  wrong sums over columns are found and left to a kernel of their own')
            # What --limit takes from the device stays away while remedies are tried.
            written = file.read_text()
            failures = find('last-group,column-sums', '--limit', 'without=last-group')
            assert failures and {f['remedy'] for f in failures} == {'contraction column-sums in f16 with f32 sums not used'}, failures
            assert file.read_text() == written # of a device that only looks smaller nothing is written down
            print('ok  --limit holds while remedies are tried')
    return 0


if __name__ == '__main__':
    sys.exit(main())
