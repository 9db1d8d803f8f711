#!/usr/bin/env python3
"""`train --tensorboard`: the event file holds what metrics.jsonl does, and its checksums are right.

    test_tensorboard.py BINADE own       read by a reader of our own, here
    test_tensorboard.py BINADE theirs    read by TensorBoard's, with the Python that BINADE_TENSORBOARD names, or this one;
                                         status 77 where that has no TensorBoard
"""
import json
import math
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import tiny_data

BINADE, READER = os.path.abspath(sys.argv[1]), sys.argv[2]
SKIPPED = 77
# What metrics.jsonl tells and TensorBoard gets: event, field, tag.
TAGS = [('progress', 'train_loss', 'loss/train'), ('progress', 'train_accuracy', 'accuracy/train'),
        ('progress', 'images_per_second', 'speed/images_per_second'), ('progress', 'learning_rate', 'learning_rate'),
        ('progress', 'loss_scale', 'loss_scale'), ('progress', 'overflows', 'overflows'),
        ('epoch', 'test_loss', 'loss/test'), ('epoch', 'test_accuracy', 'accuracy/test')]

MEASURES = [('underflow', 'underflow'), ('overflow', 'overflow'), ('sqnr_db', 'sqnr'), ('largest', 'largest'), ('norm', 'norm')]


class Damaged(Exception):
    """A checksum is wrong."""


# ---- our own reader ----

def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def read_records(data):
    """A TensorFlow record file's records; their checksums must be right."""
    masked = lambda part: (((c := crc32c(part)) >> 15 | c << 17) + 0xa282ead8) & 0xffffffff
    while data:
        length, check = struct.unpack_from('<QI', data)
        if check != masked(data[:8]):
            raise Damaged('length')
        record = data[12:12 + length]
        if struct.unpack_from('<I', data, 12 + length)[0] != masked(record):
            raise Damaged('record')
        yield record
        data = data[16 + length:]


def fields(message):
    """(number, value) of a protocol buffer message: varints and fixed ones as integers, the rest as bytes."""
    def varint():
        nonlocal at
        value = shift = 0
        while True:
            value |= (message[at] & 0x7f) << shift
            shift, at = shift + 7, at + 1
            if message[at - 1] < 0x80:
                return value
    at = 0
    while at < len(message):
        key = varint()
        size = {1: 8, 5: 4}.get(key & 7)
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = varint() if size is None else size
        yield key >> 3, message[at:at + size]
        at += size


def own_scalars(path):
    first, *events = [dict(fields(record)) for record in read_records(path.read_bytes())]
    assert first[3] == b'brain.Event:2', first
    for event in events:
        for _, scalar in fields(event[5]):
            scalar = dict(fields(scalar))
            yield event.get(2, 0), scalar[1].decode(), struct.unpack('<f', scalar[2])[0]


# ---- TensorBoard's ----

THEIRS = r'''
import json, os, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub import errors, pywrap_tensorflow

# The accumulator passes over what is damaged without a word; the reader below it does not.
reader = pywrap_tensorflow.PyRecordReader_New(sys.argv[1])
try:
    while True:
        reader.GetNext()
except errors.OutOfRangeError:
    pass
except errors.DataLossError as error:
    sys.exit(str(error))
board = EventAccumulator(os.path.dirname(sys.argv[1]), size_guidance={'scalars': 0})
board.Reload()
print(json.dumps([(e.step, tag, e.value) for tag in board.Tags()['scalars'] for e in board.Scalars(tag)]))
'''


def their_python():
    """A Python that has TensorBoard, or None."""
    python = os.environ.get('BINADE_TENSORBOARD') or sys.executable
    try:
        subprocess.run([python, '-c', 'import tensorboard'], check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return None
    return python


def their_scalars(path):
    done = subprocess.run([their_python(), '-c', THEIRS, str(path)], capture_output=True, text=True, timeout=120,
                          check=False)
    if 'crc32' in done.stderr:
        raise Damaged(done.stderr)
    assert done.returncode == 0, done.stderr[-600:]
    return [tuple(scalar) for scalar in json.loads(done.stdout)]


# ---- the test ----

def check(folder, scalars):
    tiny_data.write(folder, 512, 64)
    run = folder / 'run'
    subprocess.run([BINADE, 'train', '--tensorboard', '--quiet', '--data', folder, '--device', 'reference', '--model',
                    'mlp:16-8-10', '--batch', '64', '--epochs', '3', '--precision', 'mixed', '--measure', '10', '--output', run], check=True,
                   stdout=subprocess.DEVNULL, timeout=300)
    path, = run.glob('events.out.tfevents.*')
    events = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    wanted = sorted((event['step'], tag, event[name]) for event in events for kind, name, tag in TAGS
                    if event['event'] == kind and event[name] is not None)
    wanted += [(event['step'], f"{tag}/{m['values']}/{m['layer']}", m[name])
               for event in events if event['event'] == 'measured' for m in event['measurements']
               for name, tag in MEASURES if m[name] is not None]
    wanted.sort()
    assert [step for step, tag, _ in wanted if tag.startswith('underflow/updates')]
    told = sorted(scalars(path))
    assert len(told) == len(wanted) > 20, (len(told), len(wanted))
    for (step, tag, value), (their_step, their_tag, their_value) in zip(wanted, told):
        assert (step, tag) == (their_step, their_tag), (step, tag, their_step, their_tag)
        assert math.isclose(value, their_value, rel_tol=2**-23, abs_tol=2**-149), (step, tag, value, their_value)
    # A damaged record must be noticed, or the readers proved nothing.
    bad = folder / 'bad' / path.name
    bad.parent.mkdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    bad.write_bytes(content)
    try:
        list(scalars(bad))
    except Damaged:
        return len(told)
    raise AssertionError('a damaged file was read without complaint')


def main():
    assert crc32c(b'123456789') == 0xe3069283 # the CRC's published check value
    if READER == 'theirs' and not their_python():
        print('TensorBoard is not installed')
        return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        count = check(pathlib.Path(folder), own_scalars if READER == 'own' else their_scalars)
    print(f'{count} scalars as in metrics.jsonl')
    return 0


if __name__ == '__main__':
    sys.exit(main())
