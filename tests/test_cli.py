#!/usr/bin/env python3
"""The command line: behaviour, bad input, JSON, exit statuses, signals, full disks.

    test_cli.py BINADE REPORT_SAMPLE TRAIN_MLP [NAME...]     only the tests whose names contain a NAME

Trains tiny networks on made-up images, on the reference device, so that it takes seconds and needs no driver.
Prints `N passed, N failed`.
"""
import csv
import ctypes
import fcntl
import gzip
import html.parser
import json
import math
import os
import pathlib
import pty
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import termios
import time

BINADE, SAMPLE, EXAMPLE = [*map(os.path.abspath, sys.argv[1:4]), '', ''][:3] # those who import this need the first only
ROOT = pathlib.Path(__file__).resolve().parent.parent
TRAIN, TEST, SIDE = 512, 128, 28


class Skip(Exception):
    """This test cannot run here."""


# ---- helpers ----

def run(*arguments, status=0, env=None, **options):
    """Runs binade, checks its exit status, and returns stdout and stderr."""
    full = dict(os.environ, **env) if env else None
    done = subprocess.run([BINADE, *map(str, arguments)], text=True, timeout=300, env=full,
                          stdout=options.pop('stdout', subprocess.PIPE), stderr=subprocess.PIPE, **options)
    assert done.returncode == status, f'status {done.returncode}, not {status}; stderr: {done.stderr[-600:]}'
    return done.stdout, done.stderr


def idx(array_shape, data):
    return struct.pack('>HBB', 0, 8, len(array_shape)) + struct.pack(f'>{len(array_shape)}I', *array_shape) + data


def make_data(folder):
    """Ten classes that a network learns at once: a bright bar at a height of its own, in noise."""
    noise = random.Random(1)
    for name, count in (('train', TRAIN), ('t10k', TEST)):
        labels = bytes(i % 10 for i in range(count))
        images = bytearray()
        for label in labels:
            image = bytearray(noise.randrange(64) for _ in range(SIDE * SIDE))
            image[(2 + 2 * label) * SIDE:(3 + 2 * label) * SIDE] = bytes([255] * SIDE)
            images += image
        (folder / f'{name}-images-idx3-ubyte').write_bytes(idx((count, SIDE, SIDE), bytes(images)))
        (folder / f'{name}-labels-idx1-ubyte.gz').write_bytes(gzip.compress(idx((count,), labels)))


class Place:
    """A folder for one test, and the arguments of a tiny training in it."""

    def __init__(self, path, data):
        self.path, self.data = path, data
        self.output = path / 'out'
        self.checkpoint = self.output / 'checkpoint.safetensors'

    def tiny(self, *more, command='train', output=None):
        return [command, '--data', self.data, '--model', 'mlp:784-16-10', '--device', 'reference', '--batch', '64',
                '--epochs', '2', '--output', output or self.output, *more]


def check_safetensors(path):
    """The header is whole and its tensors tile the rest of the file."""
    raw = path.read_bytes()
    length, = struct.unpack('<Q', raw[:8])
    header = json.loads(raw[8:8 + length])
    end = max(t['data_offsets'][1] for name, t in header.items() if name != '__metadata__')
    assert 8 + length + end == len(raw), f'{path}: {8 + length + end} bytes described, {len(raw)} there'
    return header


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


def one_line_error(err, *fragments):
    assert re.fullmatch(r'binade: [^\n]+\n', err), f'not one line: {err!r}'
    for fragment in fragments:
        assert fragment in err, f'{fragment!r} is not in {err!r}'


def start(*arguments, **options):
    return subprocess.Popen([BINADE, *map(str, arguments)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            **options)


def read_until(process, event):
    for line in process.stdout:
        if json.loads(line)['event'] == event:
            return
    raise AssertionError(f'no {event}: {process.stderr.read()}')


# ---- words ----

def test_help(place):
    out, err = run('--help')
    assert not err and all(word in out for word in ('devices', 'train', 'compare', 'Examples:', 'Exit status'))
    for command in ('devices', 'train', 'compare', 'check'):
        out, err = run(command, '--help')
        assert not err and f'Usage: binade {command}' in out and f'  binade {command}' in out.split('Examples:')[1]
        assert run('help', command)[0] == out
    out, err = run(status=2)
    assert not out and 'Usage' in err


def test_version(place):
    assert re.fullmatch(r'binade \d+\.\d+\.\d+\n', run('--version')[0])


def test_usage_errors(place):
    train = place.tiny()
    for arguments, fragments in (
            (['trian'], ['trian', 'devices', 'train', 'compare']),
            (['train', '--modle', 'x'], ['--modle', '--help']),
            (['train', 'mlp'], ['mlp', '--help']),
            (['train', '--model'], ['--model']),
            (['devices', '--json=yes'], ['--json']),
            (train + ['--model', 'resnet'], ['resnet', 'mlp', 'lenet']),
            (train + ['--dry-run', '--resume', 'x'], ['--resume', '--dry-run']),
            (train + ['--profile', '--resume', 'x'], ['--resume', '--profile']),
            (train + ['--model', 'mlp:'], ['mlp:784-512-512-10']),
            (train + ['--model', 'mlp:784'], ['mlp:784']),
            (train + ['--model', 'mlp:784--10'], ['784--10']),
            (train + ['--model', 'mlp:784-16x-10'], ["'x'"]),
            (train + ['--model', 'mlp:784-99999999999999999999-10'], ['1048576']),
            (train + ['--model', 'mlp:' + '1-' * 40 + '1'], ['32']),
            (train + ['--model', 'mlp:783-10'], ['784']),
            (train + ['--model', 'mlp:784-9'], ['10']),
            (train + ['--model', ''], ['--model']),
            (train + ['--precision', 'fp17'], ['fp17', 'fp32', 'fp16', 'mixed']),
            (train + ['--precision', 'w=f99'], ['f99', 'f16']),
            (train + ['--device', 'abacus'], ['abacus', 'reference']),
            (train + ['--batch', '0'], ['--batch', '1']),
            (train + ['--batch', '12x'], ['--batch', '12x']),
            (train + ['--epochs', '-1'], ['--epochs']),
            (train + ['--epochs', '99999999999999999999'], ['--epochs']),
            (train + ['--seed', '1.5'], ['--seed']),
            (train + ['--lr', 'nan'], ['--lr']),
            (train + ['--lr', '-1'], ['--lr']),
            (train + ['--lr', ''], ['--lr']),
            (train + ['--momentum', '1.5'], ['--momentum', '0', '1']),
            (train + ['--optimizer', 'lion'], ['lion', 'sgd|adam|adamw']),
            (train + ['--optimizer', 'adam', '--momentum', '0.5'], ['--momentum', '--optimizer sgd']),
            (train + ['--beta1', '0.5'], ['--beta1', 'adam']),
            (train + ['--schedule', 'constant', '--final-lr', '0.5'], ['--final-lr', 'cosine']),
            (train + ['--schedule', 'linear'], ['linear', 'constant|step|cosine']),
            (train + ['--gemm', 'best'], ['auto|own|library']),
            (train + ['--on-nan', 'ignore'], ['stop|continue']),
            (['compare', '--model', 'mlp,,lenet'], ['empty']),
            (['compare', '--precision', 'fp32,fp99'], ['fp99']),
            (['compare', '--device', 'reference,abacus'], ['abacus']),
            (['compare', '--seeds', '0'], ['--seeds']),
            (['compare', '--ood', 'noise:9'], ['--ood', '1 to 5'])):
        out, err = run(*arguments, status=2, cwd=place.path)
        assert not out, f'{arguments}: {out!r} on stdout'
        one_line_error(err, *fragments)
    assert not list(place.path.iterdir()), 'a wrong command line leaves nothing behind'


def test_failures(place):
    """Exit status 1: the command line is right, but the files are not."""
    bad = place.path / 'bad'
    shutil.copytree(place.data, bad)
    images = bad / 'train-images-idx3-ubyte'
    images.write_bytes(images.read_bytes()[:-1])
    for arguments, fragments in ((place.tiny('--data', bad), [str(images)]),
                                 (place.tiny('--data', place.path / 'none'), ['none']),
                                 (place.tiny('--data', images), [str(images), 'no archive']),
                                 (place.tiny('--resume', place.path / 'none'), ['none']),
                                 (place.tiny('--resume', images), [str(images)]),
                                 (place.tiny('--output', images / 'x'), [str(images)]),
                                 (place.tiny('--output', '/proc/none'), ['/proc/none'])):
        out, err = run(*arguments, status=1)
        assert not out
        one_line_error(err, *fragments)
    _, err = run('train', '--device', 'reference', status=1, env={'BINADE_DATA': str(place.path / 'none')})
    one_line_error(err, 'BINADE_DATA', str(place.path / 'none'))


# ---- devices ----

def test_devices(place):
    document = json.loads(run('devices', '--json')[0])
    assert document['format_version'] == 1
    devices = document['devices']
    assert devices[-1]['id'] == 'reference'
    for device in devices:
        assert {'id', 'backend', 'name', 'driver', 'type', 'limits', 'matrix_units', 'fp16', 'usable'} <= device.keys()
        assert {'storage', 'arithmetic', 'arithmetic_exact', 'conversion_exact', 'subnormals', 'rounding'} <= \
            device['fp16'].keys()
        assert device['limits']['compute_units'] >= 1
    out, _ = run('devices')
    for device in devices:
        assert device['id'] in out and device['name'] in out
    assert out.count('fp16 arithmetic') == len(devices)


# ---- check ----

NO_DRIVERS = {'OCL_ICD_VENDORS': '/nonexistent', 'VK_DRIVER_FILES': '/nonexistent', 'VK_ICD_FILENAMES': '/nonexistent'}


def test_check(place):
    """The reference against itself: no driver is needed, and nothing can be wrong."""
    env = {'XDG_STATE_HOME': str(place.path)}
    document = json.loads(run('check', '--quick', '--device', 'reference,reference', '--json', env=env)[0])
    assert document['format_version'] == 1 and document['quick'] is True and document['repeats'] == 100
    device, = document['devices']
    assert device['device']['id'] == 'reference' and device['verdict'] == 'right'
    assert device['cases'] == sum(f['cases'] for f in device['families']) > 5 and device['failed'] == 0
    assert {f['family'] for f in device['families']} >= {'unary', 'matmul', 'convolutions', 'training'}
    assert all(f['worst_ratio'] <= 1 and {'family', 'format', 'failed', 'worst_ulps'} <= f.keys() for f in device['families'])
    exp, = (f for f in device['functions'] if f['function'] == 'exp')
    assert exp['format'] == 'fp16' and 0.49 < exp['worst_ulps'] <= 0.5 + 2 ** -14 # rounded to F32 first
    assert device['rounding'] == {'fp32_sums': 'to nearest even', 'fp32_to_fp16': 'to nearest even'}
    assert not any(count for classes in device['wrong_elements'].values() for count in classes.values())
    assert device['failures'] == [] and device['quirks'] == '' and device['quirks_file'] is None
    assert any(line.startswith('FP16: usable') for line in device['summary'])
    assert not list(place.path.iterdir())
    out, err = run('check', '--quick', '--device', 'reference', '-o', place.path / 'text', env=env)
    text = (place.path / 'text').read_text()
    assert not out and 'computes rightly' in text and 'ULP' in text and 'quirks: none' in text


def test_check_errors(place):
    for arguments, fragment in ((['--device', 'nope'], "no device 'nope'"), (['--device', ','], 'empty'), (['--seed', 'x'], '--seed'),
                                (['--fast'], '--fast'), (['reference'], 'not an option')):
        out, err = run('check', *arguments, status=2)
        assert not out
        one_line_error(err, fragment)
    one_line_error(run('check', status=1, env=NO_DRIVERS)[1], 'no OpenCL or Vulkan device found')
    out, err = run('check', '--quick', '--device', 'reference', '--limit', 'shared=16K', status=1)
    one_line_error(err, 'reference: ', 'no limits')
    assert 'could not be checked' in out
    one_line_error(run('check', '--quick', '--device', 'reference', '--output', place.path / 'no' / 'such', status=1)[1], 'such')


def test_quirks(place):
    """A file that is wrong is refused in one line, wherever a device is opened; what a right one says is told."""
    info = json.loads(run('devices', '--json', env=NO_DRIVERS)[0])['devices'][0]
    assert info['id'] == 'reference' and info['quirks'] == ''
    env = dict(NO_DRIVERS, XDG_STATE_HOME=str(place.path))
    version = run('--version')[0].split()[1]
    content = {'format_version': 1, 'backend': 'reference', 'device': info['name'], 'driver': info['driver'], 'engine': version,
               'wrong': ['unary: \x1b[31m']}
    error = run(*place.tiny('--dry-run'), env=env)[1]
    assert not error
    file = place.path / 'binade' / 'quirks' / (re.sub('[^A-Za-z0-9.]+', '-', f"reference-{info['name']}-{info['driver']}-{version}") + '.json')
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(content))
    out, err = run(*place.tiny('--epochs', '1'), env=env)
    for text in out, err:
        assert 'computes wrongly: unary: ?[31m' in text
    assert 'quirks           computes wrongly' in run('devices', env=env)[0]
    run(*place.tiny('--epochs', '1', command='compare'), env=env)
    assert 'computes wrongly: unary' in (place.output / 'report.html').read_text()
    assert 'computes wrongly' in json.loads((place.output / 'results.json').read_text())['devices'][0]['quirks']
    assert not json.loads(run('devices', '--json', env=dict(env, BINADE_QUIRKS='off'))[0])['devices'][0]['quirks']
    file.write_text('{')
    one_line_error(run(*place.tiny(), env=env, status=1)[1], str(file), 'line 1', 'BINADE_QUIRKS=off')
    out, err = run('devices', env=env, status=1)
    assert 'cannot be used:  quirks file' in out


def test_stdout_full(place):
    with open('/dev/full', 'w', encoding='ascii') as full:
        _, err = run('devices', '--json', status=1, stdout=full)
    one_line_error(err, 'stdout')


# ---- train ----

DONE_FIELDS = {'test_accuracy', 'test_loss', 'images_per_second', 'step_ms', 'dispatches_per_step',
               'planned_device_bytes', 'peak_device_bytes', 'overflows', 'checkpoint'}


def test_train_json(place):
    out, err = run(*place.tiny('--json'))
    events = lines_of(out)
    names = [event['event'] for event in events]
    assert names[0] == 'start' and names[-1] == 'done' and names.count('epoch') == 2
    assert set(names) <= {'start', 'progress', 'epoch', 'done'}
    assert all(event['format_version'] == 1 for event in events)
    assert events[0]['model'] == 'mlp:784-16-10' and events[0]['precision'] == 'fp32'
    assert events[0]['device']['id'] == 'reference'
    done = events[-1]
    assert DONE_FIELDS <= done.keys()
    assert 0.5 < done['test_accuracy'] <= 1, 'the bars are easy to learn'
    assert done['checkpoint'] == str(place.checkpoint)
    assert abs(done['peak_device_bytes'] - done['dataset_bytes'] - done['planned_device_bytes']) <= \
        0.01 * done['planned_device_bytes'], 'what is planned is what is allocated'
    assert done['step'] == done['steps'] == 2 * TRAIN // 64
    assert [event['epoch'] for event in events if event['event'] == 'epoch'] == [1, 2]
    check_safetensors(place.checkpoint)
    assert (place.output / 'metrics.jsonl').read_text() == out, 'the record is what was printed'
    rows = list(csv.DictReader((place.output / 'metrics.csv').open()))
    assert [row['event'] for row in rows] == names[1:]
    assert float(rows[-1]['test_accuracy']) == done['test_accuracy']


def test_train_measure(place):
    """What rounding does is told every N steps, and a run whose updates are lost is warned once."""
    out, err = run(*place.tiny('--json', '--measure', '3', '--precision', 'fp16', '--lr', '1e-5', '--momentum', '0'))
    measured = [event for event in lines_of(out) if event['event'] == 'measured']
    steps = 2 * TRAIN // 64
    assert [event['step'] for event in measured] == list(range(3, steps + 1, 3))
    for event in measured:
        found = {(m['layer'], m['values']): m for m in event['measurements']}
        assert {'activations', 'gradients', 'weight gradients', 'updates', 'bias gradients', 'bias updates'} == {values for _, values in found}
        for (_, values), m in found.items():
            assert m['format'] == 'f16' and 0 <= m['underflow'] <= 1 and m['overflow'] == m['nonfinite'] == 0
            assert 0 < sum(m['exponents']['counts']) <= m['elements']
            largest = m['exponents']['first'] + len(m['exponents']['counts']) - 1
            assert 2.0 ** largest <= m['largest'] < 2.0 ** (largest + 1)
            if not values.endswith('updates'): # half a unit in the last place of 11 bits, and subnormals
                assert 60 < m['sqnr_db'] < 90, m
    assert sum(len(event['warnings']) for event in measured) == err.count('warning: ') == 1
    assert re.search(r'warning: step 3: \S+% of the updates of layer \S+ change no weight in f16; kahan=on', err), err
    assert not [row for row in csv.DictReader((place.output / 'metrics.csv').open()) if row['event'] == 'measured']
    out, err = run(*place.tiny('--json', '--measure', '0', '--precision', 'fp16'))
    assert 'measured' not in out and not err.count('warning')


def test_train_plain(place):
    out, err = run(*place.tiny())
    assert re.search(r'test accuracy +\d+\.\d\d%', out) and str(place.checkpoint) in out
    assert err.count('epoch ') == 2 and '\x1b' not in err and '\r' not in err
    out, err = run(*place.tiny('--quiet'))
    assert 'test accuracy' in out and not err
    text, _ = run(*place.tiny('--precision', 'fp8-native,history=4', '--epochs', '1'))
    assert re.search(r'^sums=unit      in FP32: reference has no matrix units of FP8', text, re.M), text


def test_limit(place):
    """A device that is made to look smaller trains to the same loss; the reference has no limits, and wrong ones are named."""
    tiny = [x for x in place.tiny('--quiet', '--limit')]
    _, err = run(*tiny, 'minimum-vulkan', status=1)
    one_line_error(err, 'reference')
    devices = [d['id'] for d in json.loads(run('devices', '--json')[0])['devices'] if d['backend'] != 'reference']
    if not devices:
        raise Skip('no driver')
    for wrong in ('shared=1Q', 'shared=1K', 'workgroup', 'subgroup=3', 'fp16=none', 'mali', 'fp16=packed;', 'shared=16K,', 'binding=99999999999G', 'without=speed'):
        _, err = run(*tiny, wrong, '--device', devices[0], status=2)
        one_line_error(err, 'limit', 'minimum-vulkan')
    for limit, told in (('without=column-sums', {}),
                        ('mali-g52', {'max_workgroup_items': 384, 'shared_bytes': 32768, 'subgroup_size': 8}),
                        ('apple-m1', {'max_workgroup_items': 1024, 'shared_bytes': 32768, 'subgroup_size': 32}),
                        ('adreno-640', {'max_workgroup_items': 1024, 'shared_bytes': 32768}),
                        ('intel-uhd', {'max_workgroup_items': 256, 'shared_bytes': 65536, 'subgroup_size': 32})):
        out, _ = run(*place.tiny('--json', '--max-steps', '1', '--device', devices[-1], '--limit', limit))
        device = json.loads(out.splitlines()[0])['device']
        assert device['limit'] == limit
        for name, most in told.items():
            assert 0 < device['limits'][name] <= most, (limit, name, device['limits'])
    out, _ = run('compare', '--data', place.data, '--model', 'mlp:784-16-10', '--epochs', '1', '--max-steps', '2', '--quiet',
                 '--precision', 'fp16', '--device', devices[-1], '--limit', 'mali-g52,fp16=packed', '--json', '--output', place.output)
    results = json.loads(out)
    assert [results['devices'][0]['limit'], results['rows'][0]['limit']] == ['mali-g52,fp16=packed'] * 2
    assert not results['devices'][0]['fp16']['storage'] and results['rows'][0]['runs_done'] == 1
    assert 'limited to mali-g52,fp16=packed' in (place.output / 'report.html').read_text().lower().replace('</dt><dd>', ' ')
    for device in devices[-1:]:
        whole, _ = run(*place.tiny('--json', '--device', device))
        small, _ = run(*place.tiny('--json', '--device', device, '--limit', 'minimum-vulkan'))
        told = json.loads(small.splitlines()[0])['device']['limits']
        assert told['shared_bytes'] <= 16384 and told['max_workgroup_items'] <= 128, told
        losses = [json.loads(text.splitlines()[-1])['test_loss'] for text in (whole, small)]
        assert math.isclose(*losses, rel_tol=1e-3, abs_tol=1e-5), losses


def test_default_output(place):
    run('train', '--data', place.data, '--model', 'mlp:784-16-10', '--device', 'reference', '--epochs', '1', '--quiet',
        cwd=place.path)
    check_safetensors(place.path / 'runs/mlp-784-16-10-fp32-reference/checkpoint.safetensors')


def test_same_seed(place):
    """The same command gives the same file; another seed another."""
    contents = []
    for seed in (7, 7, 8):
        run(*place.tiny('--seed', seed, '--quiet'))
        contents.append(place.checkpoint.read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_models_and_optimizers(place):
    for more in ('--model mlp', '--model lenet', '--optimizer adam', '--optimizer adamw --schedule cosine --warmup 3',
                 '--schedule step --step-epochs 1 --nesterov --clip 1', '--precision mixed,scale=128',
                 '--precision fp16,acc=f16;linear2:w=f32', '--no-fusion'):
        few = '--epochs 1 --batch 256 --json '
        done = lines_of(run(*place.tiny(*(few + more).split()))[0])[-1]
        assert done['event'] == 'done' and done['test_loss'] is not None, more


# Where the loaders find no driver.
NO_DRIVERS = {'OCL_ICD_VENDORS': '/nonexistent', 'VK_ICD_FILENAMES': '/nonexistent', 'VK_DRIVER_FILES': '/nonexistent'}


def test_list_models(place):
    table = run('train', '--list-models')[0]
    document = json.loads(run('train', '--list-models', '--json')[0])
    models = {row['model']: row for row in document['models']}
    assert document['format_version'] == 1 and document['image'] == [32, 32, 3]
    for name in ('mlp', 'lenet', 'alexnet', 'vgg19', 'resnet110', 'densenet169', 'xception', 'mobilenetv2', 'vit16',
                 'gpt-nano', 'gpt-mini'):
        assert f"{models[name]['parameters']:,}" in table, name
        assert models[name]['step_flops'] > 2 * models[name]['forward_flops'] > 0 < models[name]['activation_bytes'], name
    one_line_error(run('train', '--model', 'resnet31', status=2)[1], 'resnet31', 'resnet32', 'vit8')


def test_language(place):
    """A text is learnt, gone on with, and written on, and everything that is wrong with one is told."""
    text, checkpoint = place.path / 'text', place.path / 'a' / 'checkpoint.safetensors'
    text.write_text('what is said three times is true: \u00e9t\u00e9\n' * 30)
    common = ['train', '--model', 'gpt-nano', '--device', 'reference', '--batch', '2']
    known = [*common, '--data', text]
    whole = lines_of(run(*known, '--max-steps', '3', '--warmup', '1', '--output', place.path / 'b', '--json')[0])
    start, done = whole[0], whole[-1]
    wanted = {'optimizer': 'adamw', 'schedule': 'cosine', 'weight_decay': 0.1, 'decay': 'matrices', 'clip_norm': 1.0, 'beta2': 0.99,
              'learning_rate': 0.001, 'epochs': 0}
    assert {key: start['options'][key] for key in wanted} == wanted, start
    assert math.isclose(start['options']['final_learning_rate'], 1e-4, rel_tol=1e-6), start
    assert done['step'] == 3 and 0 < done['test_loss'] < 3 and 0 <= done['test_accuracy'] <= 1, done
    assert math.isclose(done['tokens_per_second'], 64 * done['images_per_second'], rel_tol=1e-6), done
    lines = run(*known, '--max-steps', '3', '--warmup', '1', '--output', place.path / 'a')[0].splitlines()
    assert 'next tokens' in lines[0] and 'validation' in lines[1] and 'tokens/s' in lines[2], lines
    assert checkpoint.read_bytes() == (place.path / 'b' / 'checkpoint.safetensors').read_bytes()

    sample = ['sample', '--resume', checkpoint, '--device', 'reference', '--tokens', '12']
    written = run(*sample, '--prompt', 'what \u00e9')[0]
    assert written.startswith('what \u00e9') and len(written) == len('what \u00e9') + 12 + 1, written
    again = json.loads(run(*sample, '--prompt', 'what \u00e9', '--json')[0])
    assert again['text'] + '\n' == written and again['model'] == 'gpt-nano' and again['seed'] == 1, again
    assert run(*sample, '--prompt', 'what \u00e9', '--seed', '2')[0] != written
    for arguments, status, fragments in ((['--prompt', 'what \u20ac?'], 2, ['\u20ac', 'byte 5', 'vocabulary']),
                                         (['--resume', place.path / 'none'], 1, ['none']),
                                         (['--resume', text], 1, ['text']),
                                         (['--temperature', '-1'], 2, ['temperature']),
                                         (['--device', 'abacus'], 2, ['abacus'])):
        one_line_error(run(*sample, *arguments, status=status)[1], *fragments)
    one_line_error(run('sample', status=2)[1], '--resume')
    run(*place.tiny('--epochs', '1'))
    one_line_error(run('sample', '--resume', place.checkpoint, status=2)[1], 'no language model')

    compared = ['compare', '--model', 'gpt-nano', '--data', text, '--device', 'reference', '--precision', 'fp32', '--batch', '2']
    rows = json.loads(run(*compared, '--max-steps', '1', '--output', place.path / 'd', '--json')[0])['rows']
    assert len(rows) == 1 and 0 < rows[0]['runs'][0]['test_loss'] < 4, rows

    # Bytes that are no characters are written as what stands for such.
    (place.path / 'latin').write_bytes(b'\xe9t\xe9 ' * 300)
    latin = [*common, '--data', place.path / 'latin', '--max-steps', '1', '--output', place.path / 'c']
    run(*latin, '--tokens', 'byte')
    out = subprocess.run([BINADE, 'sample', '--resume', place.path / 'c' / 'checkpoint.safetensors', '--device', 'reference',
                          '--tokens', '20'], stdout=subprocess.PIPE, check=True).stdout.decode('utf-8')
    assert len(out) == 21 and '\ufffd' in out and set(out) <= set('\ufffdt \n'), out
    one_line_error(run(*latin, status=1)[1], 'latin', 'position 0', 'UTF-8')
    (place.path / 'empty').write_bytes(b'')
    one_line_error(run(*common, '--data', place.path / 'empty', status=1)[1], 'empty')
    (place.path / 'short').write_text('short')
    one_line_error(run(*common, '--data', place.path / 'short', status=1)[1], 'too short', '65')
    one_line_error(run(*common, '--data', place.data, status=2)[1], 'gpt-nano', 'text')
    one_line_error(run(*place.tiny('--data', text, '--model', 'lenet'), status=2)[1], 'lenet', 'text')
    one_line_error(run(*place.tiny('--tokens', 'byte'), status=2)[1], '--tokens', 'images')


def test_cifar(place):
    """A CIFAR folder and its archive train alike; an archive that holds no data set is refused."""
    folder = place.path / 'cifar-10-batches-bin'
    folder.mkdir()
    noise = random.Random(2)
    for name in [f'data_batch_{i}' for i in range(1, 6)] + ['test_batch']:
        records = [bytes([label]) + bytes(noise.randrange(25 * label, 25 * label + 30) for _ in range(3072))
                   for label in [noise.randrange(10) for _ in range(20)]]
        (folder / f'{name}.bin').write_bytes(b''.join(records))
    with tarfile.open(place.path / 'cifar.tar.gz', 'w:gz') as archive:
        archive.add(folder, folder.name)
    common = ['--model', 'mlp:3072-16-10', '--device', 'reference', '--batch', '20', '--epochs', '2', '--augment', '--json']
    last = [lines_of(run('train', '--data', data, *common, '--output', place.path / name)[0])[-1]
            for name, data in (('a', folder), ('b', place.path), ('c', place.path / 'cifar.tar.gz'))]
    assert last[0]['test_loss'] == last[1]['test_loss'] == last[2]['test_loss'], last
    with tarfile.open(place.path / 'none.tar', 'w') as archive:
        archive.add(folder / 'test_batch.bin', 'readme')
    one_line_error(run('train', '--data', place.path / 'none.tar', '--device', 'reference', status=1)[1], 'none.tar',
                   'no data set')


def test_data_memory(place):
    """A data set that may not lie on the device as a whole is streamed, and trains the same."""
    folder = place.path / 'cifar-10-batches-bin'
    folder.mkdir()
    for i, name in enumerate([f'data_batch_{i}' for i in range(1, 6)] + ['test_batch']):
        pixels = random.Random(i)
        (folder / f'{name}.bin').write_bytes(b''.join(bytes([k % 10]) + pixels.randbytes(3072) for k in range(120)))
    common = ['--data', folder, '--model', 'mlp:3072-8-10', '--device', 'reference', '--batch', '20', '--epochs', '2', '--json']
    whole, streamed = (lines_of(run('train', *common, '--data-memory', most, '--output', place.path / most)[0])[-1]
                       for most in ('0', '1'))
    assert (whole['train_loss'], whole['test_loss']) == (streamed['train_loss'], streamed['test_loss']), (whole, streamed)
    assert streamed['dataset_bytes'] <= 1 << 20 < 720 * 3073 <= whole['dataset_bytes'], (whole, streamed)
    one_line_error(run('train', *common, '--batch', '200', '--data-memory', '1', status=1)[1], 'training set', 'smaller batch')


def test_no_drivers(place):
    """Without a driver the reference trains; each command says so, and what to install."""
    out, err = run('devices', env=NO_DRIVERS)
    assert out.startswith('reference') and out.count('fp16 arithmetic') == 1
    assert re.fullmatch(r'no OpenCL or Vulkan device found: [^\n]*pocl-opencl-icd[^\n]*\n', err), err
    for command in ('train', 'compare'):
        arguments = [command, '--data', place.data, '--model', 'mlp:784-8-10', '--epochs', '1', '--output', place.output]
        _, err = run(*arguments, env=NO_DRIVERS)
        assert 'the reference' in err.splitlines()[0]
    assert json.loads((place.output / 'results.json').read_text())['devices'][0]['id'] == 'reference'
    _, err = run(*place.tiny('--device', 'vulkan'), status=2, env=NO_DRIVERS)
    one_line_error(err, 'vulkan', 'reference', 'no OpenCL or Vulkan driver')


def test_too_large(place):
    """What does not fit is told with the numbers, before anything runs."""
    model = ['--model', 'mlp:784-60000-60000-10']
    huge = place.tiny(*model)
    needed = json.loads(run('train', '--data', place.data, *model, '--dry-run', '--json')[0])['planned_device_bytes']
    memory = json.loads(run('devices', '--json', env=NO_DRIVERS)[0])['devices'][0]['limits']['memory_bytes']
    if memory >= needed:
        raise Skip(f'it fits into {memory >> 30} GiB')
    for more in ([], ['--dry-run']):
        out, err = run(*huge, *more, status=1)
        assert not out
        one_line_error(err, 'MiB', 'reference')


def test_profile(place):
    """Every kernel of a step has a time; the reference, which has no clock, says so; nothing is written."""
    _, err = run(*place.tiny('--profile'), status=1)
    one_line_error(err, 'no clock')
    for device in json.loads(run('devices', '--json')[0])['devices']:
        if device['backend'] == 'reference' or not device['usable']:
            continue
        arguments = ['train', '--data', place.data, '--model', 'mlp:784-16-10', '--device', device['id'], '--profile']
        document = json.loads(run(*arguments, '--json', cwd=place.path)[0])
        times = [kernel['microseconds'] for kernel in document['kernels']]
        assert len(times) > 5 and all(time >= 0 for time in times) and times == sorted(times, reverse=True)
        assert abs(sum(times) - document['microseconds']) <= 1e-6 * sum(times) and document['microseconds'] > 0
    assert not list(place.path.iterdir()), 'a profile writes nothing'


def test_dry_run(place):
    arguments = ['train', '--data', place.data, '--precision', 'mixed', '--dry-run']
    out, err = run(*arguments, '--json', env=NO_DRIVERS, cwd=place.path)
    plan = json.loads(out)
    assert plan['format_version'] == 1 and plan['model'] == 'mlp:784-512-512-10' and plan['precision'] == 'mixed'
    assert all(plan[key] > 0 for key in ('dispatches_per_step', 'planned_device_bytes', 'dataset_bytes',
                                         'flops_per_step', 'bytes_per_step'))
    out, err = run(*arguments, env=NO_DRIVERS, cwd=place.path)
    assert len(out.splitlines()) > 10 and not err
    least = re.search(r'^least possible: (\d+) bytes, all fused; the kernels move ([\d.]+) times that$', out, re.M)
    moved = re.search(r'^training step: \d+ flops, (\d+) bytes', out, re.M)
    # The weights are read and written at least once: 784 x 512 + 512 x 512 + 512 x 10, in F32 at that.
    assert 8 * 668672 < int(least[1]) < int(moved[1]) and abs(int(moved[1]) / int(least[1]) - float(least[2])) < 0.06
    named = json.loads(run(*arguments, '--json', '--device', 'reference', cwd=place.path)[0])
    assert named['device'] == 'reference' and plan['device'] is None
    assert not list(place.path.iterdir()), 'a dry run writes nothing'


def test_policy_file(place):
    """A policy from a file is the one of the same text; what is wrong with a file is said in one line that names it."""
    file = place.path / 'policy.json'
    arguments = ['train', '--data', place.data, '--dry-run', '--precision']
    file.write_text('{"policy": "fp16,scale=1024", "layers": {"linear1": "w=f32,a=f32", "linear2": "g=f32"}, "note": [1]}')
    out, _ = run(*arguments, '@policy.json', env=NO_DRIVERS, cwd=place.path)
    assert out == run(*arguments, 'fp16,scale=1024;linear1:w=f32,a=f32;linear2:g=f32', env=NO_DRIVERS)[0]
    for text, *words in (('{"policy": "fp17"}', 'character 1', 'fp17'), ('{"layers": {}}', 'policy'),
                         ('{"policy": "fp16", "layer": {}}', 'layer'), ('{"policy": "fp16", "layers": []}', 'layers'),
                         ('{"policy": "fp16", "layers": {"a;b": "w=f16"}}', 'a;b'), ('[]', 'object'),
                         ('{"policy": "fp16", "layers": {"a": 1}}', '"a"'), ('{"policy": "fp16;a:w=f16"}', ';'),
                         ('{"policy": \n', 'line 2', 'not JSON'), ('{"policy": "fp16", "policy": "fp32"}', 'duplicate'),
                         (' ' * (2 << 20), '1 MiB')):
        file.write_text(text)
        _, err = run(*arguments, '@policy.json', env=NO_DRIVERS, cwd=place.path, status=2 if 'fp17' in text else 1)
        one_line_error(err, 'policy.json', *words)
    for path in ('nowhere.json', '.'):
        one_line_error(run(*arguments, '@' + path, env=NO_DRIVERS, cwd=place.path, status=1)[1], path)


def test_auto(place):
    """Layers are measured, the choice keeps the bound, is told, and can be had again from the file that it wrote."""
    out, _ = run(*place.tiny('--precision', 'auto', '--max-error', '1e-3', '--quiet'))
    document = json.loads((place.output / 'policy.json').read_text())
    rows = document['note']['layers']
    sizes = {'f8e4m3': 1, 'f8e5m2': 1, 'f16': 2, 'bf16': 2, 'f32': 4}
    for row in rows:
        fit = [name for name in sizes if name != 'f32' and row[name]['overflow'] == 0 and row[name]['error'] <= 1e-3]
        assert sizes[row['format']] == min([sizes[name] for name in fit] + [4]), row
        assert re.search(rf'^{row["layer"]} +{row["format"]}', out, re.M)
    assert 'f16' in [row['format'] for row in rows], 'a small network fits f16'
    line = re.search(r'^policy +(\S+): the same again with --precision @(\S+)$', out, re.M)
    again = lines_of(run(*place.tiny('--precision', '@' + line[2], '--json'))[0])[0]
    assert again['precision'] == line[1]
    # A budget that all of FP32 fits costs no error; one that nothing fits is refused with what it would take.
    out, _ = run(*place.tiny('--precision', 'auto', '--budget', '1G', '--quiet'))
    assert set(row['format'] for row in json.loads((place.output / 'policy.json').read_text())['note']['layers']) == {'f32'}
    _, err = run(*place.tiny('--precision', 'auto', '--budget', '1K', '--quiet'), status=2)
    one_line_error(err, '--budget 1K', 'KiB')
    one_line_error(run(*place.tiny('--precision', 'auto', '--budget', '3 apples'), status=2)[1], '300M')
    one_line_error(run(*place.tiny('--precision', 'auto', '--batch', str(TRAIN)), status=2)[1], 'two batches')
    one_line_error(run(*place.tiny('--budget', '1G'), status=2)[1], '--precision auto')
    one_line_error(run(*place.tiny('--precision', 'auto', command='compare'), status=2)[1], '@DIR/policy.json')


def test_reproduce(place):
    """A claim of arithmetic, and mistakes; tests/test_reproduce.py has the others."""
    out, _ = run('reproduce', 'r14', 'R3', '--device', 'reference')
    assert re.search(r'^R14: holds$', out, re.M) and re.search(r'^R3: not run here$', out, re.M)
    assert out.endswith('1 hold, 0 fail, 0 not decided, 1 not run here\n') and max(map(len, out.splitlines())) <= 80
    one_line_error(run('reproduce', 'R1', 'R21', status=2)[1], 'R21', 'R1 to R20')
    one_line_error(run('reproduce', '', status=2)[1], 'R1 to R20')
    one_line_error(run('reproduce', '--steps', '0', status=2)[1], '--steps')
    one_line_error(run('devices', 'R1', status=2)[1], 'R1', 'not an option')


def test_nan(place):
    """A rate that blows up stops the run with the step and the layer, or goes on when asked."""
    _, err = run(*place.tiny('--lr', '1e6', '--precision', 'fp16', '--quiet'), status=1)
    one_line_error(err, 'step', 'linear')
    out, _ = run(*place.tiny('--lr', '1e6', '--json', '--on-nan', 'continue'))
    done = lines_of(out)[-1]
    assert done['event'] == 'done' and done['nan_steps'] > 0 and done['test_loss'] is None


def test_terminal(place):
    """On a terminal a bar that stays within the width; without colour where NO_COLOR says so."""
    for columns, no_colour in ((100, ''), (50, '1'), (20, '1')):
        primary, secondary = pty.openpty()
        fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
        command = [BINADE, *map(str, place.tiny('--model', 'mlp:784-64-10'))]
        terminal = dict(os.environ, TERM='xterm', NO_COLOR=no_colour, LC_ALL='C.UTF-8')
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=secondary, env=terminal)
        os.close(secondary)
        shown = b''
        while True:
            try:
                part = os.read(primary, 65536)
            except OSError: # the other end is closed
                break
            if not part:
                break
            shown += part
        os.close(primary)
        assert process.wait() == 0
        text = shown.decode()
        assert '\r\x1b[K' in text and (columns < 100 or 'ETA' in text), 'no bar'
        assert ('\x1b[36m' in text) == (columns == 100), 'colour'
        for line in re.split(r'[\r\n]', re.sub(r'\x1b\[[0-9;]*[mK]', '', text)):
            if 'train loss' not in line: # the line of an epoch may wrap: it stays on the screen
                assert len(line) < columns, f'{len(line)} columns of {columns}: {line}'


# ---- stopping ----

def endless(place, *more):
    return start(*place.tiny('--epochs', '100000', '--json', *more))


def check_resumes(place):
    """The checkpoint is good: a run goes on from it."""
    check_safetensors(place.checkpoint)
    process = endless(place, '--resume', place.checkpoint)
    read_until(process, 'epoch')
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_interrupt(place):
    process = endless(place)
    read_until(process, 'epoch')
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, f'{process.returncode}: {err}'
    assert '--resume ' + str(place.checkpoint) in err.splitlines()[-1]
    check_resumes(place)


def test_interrupt_twice(place):
    """The second Ctrl-C does not wait: here a step takes long."""
    process = start(*place.tiny('--batch', '512', '--model', 'mlp:784-2048-2048-10', '--quiet'))
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode in (-signal.SIGINT, 130), process.returncode


def test_kill(place):
    """Whenever a run is killed, its checkpoint is absent or whole, and what it had begun goes with the next."""
    when = random.Random(3)
    for _ in range(12):
        place.checkpoint.unlink(missing_ok=True)
        process = endless(place, '--epochs', '5000')
        time.sleep(when.uniform(0.05, 0.6))
        process.kill()
        process.communicate()
        if place.checkpoint.exists():
            check_safetensors(place.checkpoint)
    if not place.checkpoint.exists():
        process = endless(place)
        read_until(process, 'epoch')
        process.kill()
        process.communicate()
    check_resumes(place)
    assert not list(place.output.glob('*.tmp'))


def test_two_runs(place):
    """A second run into the folder of one that goes on ends at once, and leaves the first one's record as it is."""
    process = endless(place)
    read_until(process, 'epoch')
    _, err = run(*place.tiny(), status=1)
    one_line_error(err, str(place.output / 'metrics.jsonl'), 'another run', '--output')
    process.send_signal(signal.SIGINT)
    process.communicate()
    events = lines_of((place.output / 'metrics.jsonl').read_text())
    assert [event['event'] for event in events].count('start') == 1, events
    check_resumes(place)


def full_disk(place, grow):
    """Trains, takes the room away with `grow`, trains again: the second run fails, the first one's checkpoint stays."""
    run(*place.tiny('--quiet'))
    good = place.checkpoint.read_bytes()
    out, err = grow()
    assert str(place.output) in err.splitlines()[-1], err
    assert place.checkpoint.read_bytes() == good, 'the last good checkpoint is gone'
    check_safetensors(place.checkpoint)
    leftover = [path.name for path in place.output.iterdir()]
    assert sorted(leftover) == ['checkpoint.safetensors', 'metrics.csv', 'metrics.jsonl'], leftover


def test_file_size_limit(place):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
    full_disk(place, lambda: run(*place.tiny('--seed', '2', '--quiet'), status=1, preexec_fn=limit))


def test_full_disk(place):
    if os.geteuid():
        raise Skip('only root can mount a small file system')
    place.output.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b'tmpfs', str(place.output).encode(), b'tmpfs', 0, b'size=512k'):
        raise Skip(f'cannot mount: {os.strerror(ctypes.get_errno())}')
    try:
        def fill():
            with open(place.output / 'filler', 'wb', buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError: # no space left: as it should be
                    pass
                # Room for the record's lines, but not for another checkpoint.
                file.truncate(file.tell() - 32768)
            try:
                return run(*place.tiny('--seed', '2', '--quiet'), status=1)
            finally:
                (place.output / 'filler').unlink()
        full_disk(place, fill)
    finally:
        libc.umount(str(place.output).encode())


def test_checkpoint_nowhere(place):
    """A checkpoint that cannot be written is found before the training, not after its first epoch."""
    for path, reason in ((place.path / 'none' / 'x', 'no such folder'), (place.path, 'a folder is in its place')):
        out, err = run(*place.tiny('--json', '--checkpoint', path), status=1)
        assert not out, 'it began'
        one_line_error(err, str(path), reason)
        assert not (place.output / 'metrics.jsonl').exists()


# ---- documentation and example ----

def test_documentation(place):
    """docs/usage.md knows every option, and no other; its examples and the README's name real ones."""
    known = {}
    for command in ('devices', 'train', 'sample', 'compare', 'reproduce'):
        table = run(command, '--help')[0].split('Usage:')[1].split('Examples:')[0]
        known[command] = set(re.findall(r'--[a-z][a-z0-9-]*', table)) - {'--help'}
    usage = (ROOT / 'docs/usage.md').read_text()
    sections = {title.split()[-1].strip('`'): body for title, body in
                re.findall(r'^## (`?binade [a-z]+`?)\n(.*?)(?=^## |\Z)', usage, re.M | re.S)}
    for command, options in known.items():
        told = set(re.findall(r'--[a-z][a-z0-9-]*', sections[command]))
        if command == 'compare': # shares train's table
            told |= set(re.findall(r'--[a-z][a-z0-9-]*', sections['train'])) & options
        assert options == told, f'{command}: {sorted(options ^ told)}'
    for name in ['README.md'] + [f'docs/{page.name}' for page in (ROOT / 'docs').glob('*.md')]:
        text = (ROOT / name).read_text().replace('\\\n', ' ')
        for command, rest in re.findall(r'\bbinade (devices|train|sample|compare)\b([^\n`#]*)', text):
            unknown = set(re.findall(r'(?<![\w-])--[a-z][a-z0-9-]*', rest)) - known[command]
            assert not unknown, f'{name}: binade {command} has no {unknown}'


def complete(*words):
    """What bash's completion offers for a line; words as bash splits them, at '=' too."""
    script = ('. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _binade; '
              '[ ${#COMPREPLY[@]} = 0 ] || printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(['bash', '-c', script, 'bash', str(pathlib.Path(BINADE).parent / 'binade.bash'), *words],
                          capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_manual_and_completions(place):
    """Made from the option tables: each option is in each of them, and bash completes values too."""
    folder = pathlib.Path(BINADE).parent
    whole = {name: (folder / name).read_text() for name in ('binade.1', 'binade.bash', '_binade', 'binade.fish')}
    for command in ('devices', 'train', 'sample', 'compare', 'bench', 'check'):
        table = json.loads(run(command, '--describe')[0])
        assert table['command'] == command and table['options']
        assert f'binade\\-{command}' in whole['binade.1']
        page = (folder / f'binade-{command}.1').read_text()
        assert page.startswith('.TH BINADE-' + command.upper())
        assert page.split('EXIT STATUS\n')[1].startswith(table['exits'].split(',')[0])
        assert 'Exit status: ' + table['exits'] in run(command, '--help')[0]
        offered = complete('binade', command, '--')
        for option in table['options']:
            assert '\\-\\-' + option['name'].replace('-', '\\-') + '\\fR' in page, f'{command} --{option["name"]}: no page'
            assert '--' + option['name'] in offered, f'{command} --{option["name"]}: not in bash'
            assert f"'--{option['name']}" in whole['_binade'] and f"-l {option['name']} " in whole['binade.fish']
    assert complete('binade', 'tr') == ['train']
    assert complete('binade', 'train', '--optimizer', '=', 'a') == ['adam', 'adamw']
    assert complete('binade', 'train', '--optimizer', '=') == ['sgd', 'adam', 'adamw']
    assert complete('binade', 'train', '--on-nan', 's') == ['stop']


def test_example(place):
    """The library's example trains; on the data set that is installed."""
    if not pathlib.Path('/usr/share/datasets/fashion-mnist').exists():
        raise Skip('dataset-fashion-mnist is not installed')
    devices = json.loads(run('devices', '--json')[0])['devices']
    if devices[0]['id'] == 'reference':
        raise Skip('no driver: the reference would take minutes')
    done = subprocess.run([EXAMPLE, devices[0]['id'], '1'], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    accuracy = float(re.search(r'test accuracy ([\d.]+)%', done.stdout).group(1))
    assert accuracy > 75, f'{accuracy}% after one epoch'
    done = subprocess.run([EXAMPLE, 'abacus'], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and 'abacus' in done.stderr


def main(tests):
    """Runs those of a module's globals that are tests, and are named on the command line if any are."""
    passed, failed, skipped = 0, 0, 0
    names = sys.argv[4:]
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / 'data'
        data.mkdir()
        make_data(data)
        for name, test in list(tests.items()):
            if not name.startswith('test_') or (names and not any(part in name for part in names)):
                continue
            path = pathlib.Path(folder) / name
            path.mkdir()
            begin = time.monotonic()
            try:
                test(Place(path, data))
                passed += 1
                print(f'ok       {name}  {time.monotonic() - begin:.1f} s')
            except Skip as reason:
                skipped += 1
                print(f'skipped  {name}: {reason}')
            except Exception as error: # one test's failure must not hide the others'
                failed += 1
                print(f'FAILED   {name}: {type(error).__name__}: {error}')
            sys.stdout.flush()
    print(f'{passed} passed, {failed} failed' + (f', {skipped} skipped' if skipped else ''))
    return failed > 0


if __name__ == '__main__':
    sys.exit(main(globals()))
