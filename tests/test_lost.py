#!/usr/bin/env python3
"""A device that is lost in mid-run: the program says so with a status of its own, and the last checkpoint goes on to the same bits.

    test_lost.py BINADE LIBRARY DEVICE [MOST]     LIBRARY: lose_vulkan (a layer) or lose_opencl (to preload); 77 without DEVICE

Every call that gives the device work or waits for it fails once, and all after it (at most MOST of them, evenly spread).
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from test_cli import Place, check_safetensors, make_data

BINADE, LIBRARY, DEVICE = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), sys.argv[3]
MOST = int(sys.argv[4]) if len(sys.argv) > 4 else 1 << 30
LOST = 3


def environment(folder):
    """Where the library is between the program and its driver."""
    own = {'BINADE_LOSE_COUNT': str(folder / 'calls')}
    if not DEVICE.startswith('vulkan'):
        return dict(os.environ, LD_PRELOAD=LIBRARY, **own)
    (folder / 'lose.json').write_text(json.dumps({'file_format_version': '1.1.0', 'layer': {
        'name': 'VK_LAYER_BINADE_lose', 'type': 'GLOBAL', 'library_path': LIBRARY, 'api_version': '1.3.0',
        'implementation_version': '1', 'description': 'loses the device'}}))
    return dict(os.environ, VK_LAYER_PATH=str(folder), VK_INSTANCE_LAYERS='VK_LAYER_BINADE_lose', **own)


def train(place, env, *more):
    command = [BINADE, *map(str, place.tiny('--device', DEVICE, '--batch', '128', '--quiet', *more))]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        data = folder / 'data'
        data.mkdir()
        make_data(data)
        env, place = environment(folder), Place(folder / 'run', data)
        done = train(place, env)
        if done.returncode == 2 and 'no device' in done.stderr:
            print('skipped:', done.stderr.strip())
            return 77
        assert done.returncode == 0, done.stderr
        done = train(place, env) # now from the cache, as those that follow
        whole = place.checkpoint.read_bytes()
        calls = int((folder / 'calls').read_text())
        assert calls > 10, f'{calls} calls seen: is the library in the way?'
        tries, lost, resumed = min(calls, MOST), 0, 0
        for i in range(tries):
            at = 1 + i * calls // tries
            shutil.rmtree(place.output)
            done = train(place, dict(env, BINADE_LOSE_AT=str(at)))
            if done.returncode == 0: # how many calls there are is a matter of speed: these were all needed no more
                assert place.checkpoint.read_bytes() == whole, f'call {at}: another result'
                continue
            lost += 1
            assert done.returncode == LOST, f'call {at}: status {done.returncode}: {done.stderr}'
            assert not done.stdout and re.fullmatch(rf'binade: {DEVICE} was lost [^\n]+\n', done.stderr), f'{at}: {done.stderr!r}'
            if not place.checkpoint.exists():
                assert 'start again' in done.stderr or 'opened' in done.stderr, f'call {at}: {done.stderr}'
                continue
            check_safetensors(place.checkpoint)
            step, path = re.search(r'after step \d+ of 8: .* go on from step (\d+) with --resume (.*)\n', done.stderr).groups()
            assert step in ('4', '8') and path == str(place.checkpoint), done.stderr
            done = train(place, env, '--resume', path)
            assert done.returncode == 0 and place.checkpoint.read_bytes() == whole, f'call {at}: {done.stderr} or another result'
            resumed += 1
        print(f'{DEVICE}: {lost} of {tries} calls lost it ({calls} in all); {resumed} had a checkpoint and went on, bit for bit')
        assert lost > 0.8 * tries and resumed > 0
    return 0


if __name__ == '__main__':
    sys.exit(main())
