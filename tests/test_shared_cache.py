#!/usr/bin/env python3
"""The cache folder that everyone has in common: two processes at once, one of them killed, a folder that is read-only, full or absent.

    test_shared_cache.py BINADE DEVICE [ROUNDS]     each with two processes so many times (1); 77 without DEVICE

Whatever becomes of the cache, training ends with the same bits and without a word, and the file of the cache is whole.
"""
import contextlib
import ctypes
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

from test_cli import Place, Skip, make_data

BINADE, DEVICE = os.path.abspath(sys.argv[1]), sys.argv[2]
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 1


class Trainer:
    """Training runs that differ in nothing but their cache."""

    def __init__(self, folder):
        self.folder, self.data, self.count = folder, folder / 'data', 0
        self.data.mkdir()
        make_data(self.data)

    def start(self, cache):
        self.count += 1
        place = Place(self.folder / f'run{self.count}', self.data)
        # The drivers have caches of their own, which are not what is tried here.
        env = dict(os.environ, XDG_CACHE_HOME=str(cache), POCL_CACHE_DIR=str(self.folder / 'pocl'),
                   MESA_SHADER_CACHE_DISABLE='true')
        command = [BINADE, *map(str, place.tiny('--device', DEVICE, '--epochs', '1', '--quiet'))]
        place.process = subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return place

    def end(self, place):
        """The bytes that it saved."""
        _, err = place.process.communicate(timeout=300)
        assert place.process.returncode == 0 and not err, f'status {place.process.returncode}: {err}'
        saved = place.checkpoint.read_bytes()
        shutil.rmtree(place.output)
        return saved

    def run(self, cache):
        return self.end(self.start(cache))


def entries(cache):
    """How many blobs a cache holds; its file must be whole."""
    with contextlib.closing(sqlite3.connect(f'file:{cache}/binade/cache.sqlite?mode=ro', uri=True)) as database:
        assert database.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
        return database.execute('SELECT COUNT(*) FROM blobs').fetchone()[0]


@contextlib.contextmanager
def mounted(path, options):
    """A small file system of its own at `path`."""
    if os.geteuid():
        raise Skip('only root can mount')
    libc = ctypes.CDLL(None, use_errno=True)
    path.mkdir()
    if libc.mount(b'tmpfs', str(path).encode(), b'tmpfs', 0, options.encode()):
        raise Skip(f'cannot mount: {os.strerror(ctypes.get_errno())}')
    try:
        yield lambda flags: libc.mount(b'tmpfs', str(path).encode(), b'tmpfs', flags, options.encode())
    finally:
        libc.umount(str(path).encode())


def two_at_once(train, wanted, full):
    for i in range(ROUNDS):
        cache = train.folder / f'cache{i}'
        places = [train.start(cache), train.start(cache)]
        assert [train.end(place) for place in places] == [wanted, wanted], 'another result'
        assert entries(cache) == full, 'something is missing'
        assert train.run(cache) == wanted and entries(cache) == full
        shutil.rmtree(cache)
    return f'{ROUNDS} times, the cache whole and complete each time'


def one_killed(train, wanted, full):
    when, partly = random.Random(5), 0
    for i in range(ROUNDS):
        cache = train.folder / f'cache{i}'
        killed, other = train.start(cache), train.start(cache)
        time.sleep(when.uniform(0.1, 1.5) * train.seconds)
        killed.process.kill()
        killed.process.communicate()
        assert train.end(other) == wanted, 'another result'
        partly += entries(cache) < full
        assert train.run(cache) == wanted and entries(cache) == full
        shutil.rmtree(cache)
    return f'killed {ROUNDS} times at random moments, never damage; {partly} times blobs had to be made again'


def read_only(train, wanted, full):
    cache, remount, read = train.folder / 'read-only', 0x20, 1
    with mounted(cache, 'size=64m') as mount:
        assert mount(remount | read) == 0
        assert train.run(cache) == wanted and not list(cache.iterdir()), 'empty and read-only'
        assert mount(remount) == 0
        assert train.run(cache) == wanted and mount(remount | read) == 0
        places = [train.start(cache), train.start(cache)]
        assert [train.end(place) for place in places] == [wanted, wanted] and entries(cache) == full
    return 'empty, then filled and used by two at once'


def full_disk(train, wanted, full):
    cache = train.folder / 'full'
    with mounted(cache, 'size=40k'):
        places = [train.start(cache), train.start(cache)]
        assert [train.end(place) for place in places] == [wanted, wanted]
        held = entries(cache)
    assert 0 < held < full, f'{held} of {full}'
    return f'40 KiB, two at once: {held} of {full} blobs kept'


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        train = Trainer(folder)
        begun = time.monotonic()
        first = train.start(folder / 'first')
        _, err = first.process.communicate(timeout=600)
        if first.process.returncode == 2 and 'no device' in err:
            print('skipped:', err.strip())
            return 77
        assert first.process.returncode == 0, err
        train.seconds = time.monotonic() - begun # two at once take longer
        wanted, full = first.checkpoint.read_bytes(), entries(folder / 'first')
        assert full > 4
        for test in (two_at_once, one_killed, read_only, full_disk):
            try:
                print(f'{DEVICE}, {test.__name__}: {test(train, wanted, full)}', flush=True)
            except Skip as reason:
                print(f'{test.__name__} skipped: {reason}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
