#!/usr/bin/env python3
"""`binade bench`: small benchmarks on every backend, every format, --compare, bad options, Ctrl-C.

    test_bench.py BINADE [NAME...]     only the tests whose names contain a NAME

Nothing passes or fails by a time. Prints `N passed, N failed`.
"""
import csv
import html.parser
import io
import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

BINADE = os.path.abspath(sys.argv[1])
STATUSES = {'ok', 'unsupported', 'skipped', 'failed', 'wrong'}
QUICK = ['--reps', '3', '--max-time', '0.2']
UNITS = {'peak': 'GFLOP/s', 'bandwidth': 'GB/s', 'launch': 'us', 'gemm': 'GFLOP/s', 'conv': 'GFLOP/s',
         'reduce': 'GB/s', 'attention': 'GFLOP/s', 'train': 'images/s'}


def bench(*arguments, status=0, stderr=None):
    done = subprocess.run([BINADE, 'bench', '--quiet', *map(str, arguments)], text=True, timeout=300,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == status, f'status {done.returncode}, not {status}; stderr: {done.stderr[-600:]}'
    if stderr is not None:
        lines = done.stderr.splitlines()
        assert len(lines) == 1 and re.search(stderr, lines[0]), f'stderr: {done.stderr}'
    return done.stdout


def devices():
    found = json.loads(subprocess.run([BINADE, 'devices', '--json'], text=True, stdout=subprocess.PIPE,
                                      check=False).stdout)['devices']
    ids = [device['id'] for device in found if device['usable']]
    return ['reference'] + [name for name in ('opencl:0', 'vulkan:0') if name in ids]


def rows_of(*arguments):
    return json.loads(bench(*arguments, '-o', 'json'))['rows']


def check_row(row):
    assert row['status'] in STATUSES, row
    assert row['status'] not in ('failed', 'wrong'), f"{row['name']}: {row['reason']}"
    assert bool(row['reason']) == (row['status'] != 'ok'), row
    assert row['unit'] == UNITS[row['suite']], row
    assert row['backend'] and row['device'] and row['driver'] and row['engine'] and row['commit'], row
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', row['time']), row
    if row['status'] == 'ok':
        assert row['value'] > 0 and row['wall_ns'] and all(t > 0 for t in row['wall_ns'] + row['device_ns']), row
        assert row['samples'] == len(row['wall_ns']), row
        assert min(row['wall_ns']) <= row['wall_median_ns'] <= max(row['wall_ns']), row
    else:
        assert row['value'] is None and not row['noisy'], row


# Sizes that the suites of one run do not share.
RUNS = (('peak,bandwidth,launch', '65536'),
        ('gemm,conv,reduce,attention', '24x16x40,2x8x8x4x8x3,32x64,attention:1x2x16x8'))


def check_suite(device, suite, rows):
    mine = [row for row in rows if row['suite'] == suite]
    done = [row for row in mine if row['status'] == 'ok']
    if device == 'reference' and suite in ('peak', 'launch'):
        assert mine and not done, 'the reference runs no kernels'
    else:
        assert done, f'{suite}: {mine}'
    if suite in ('gemm', 'conv', 'attention') and device != 'reference':
        assert all(row['share_of_peak'] > 0 for row in done), 'the measured peak is missing'
    if suite == 'peak':
        assert {row['name'] for row in mine} == {'fp32', 'fp16 scalar', 'fp16 vector', 'bf16', 'int8 dot',
                                                 'matrix units fp16', 'matrix units bf16', 'matrix units fp8',
                                                 'matrix units int8'}
    if suite == 'gemm':
        assert {row['name'] for row in mine} == {f'matmul {t} 24x16x40' for t in ('nn', 'tn')}
        assert device != 'opencl:0' or {'own', 'clblast'} == {row['variant'] for row in mine}
    if suite == 'conv':
        assert len(mine) == 3 * 2
    if suite == 'attention':
        assert {row['name'] for row in mine} == {'attention 1x2x16x8', 'attention backward 1x2x16x8'}


def test_suites():
    for device in devices():
        for suites, shapes in RUNS:
            rows = rows_of('--device', device, '--suite', suites, '--precision', 'fp32,fp16', '--shape', shapes,
                           '--transpose', 'nn,tn', *QUICK)
            for row in rows:
                check_row(row)
                assert row['device'] == device
            for suite in suites.split(','):
                check_suite(device, suite, rows)


def test_batches_and_strides():
    for device in devices():
        rows = [row for row in rows_of('--device', device, '--suite', 'gemm,conv', '--shape', '3x24x16x40,2x9x8x4x8x3x2',
                                       '--precision', 'fp16', '--transpose', 'tn', *QUICK) if row['suite'] != 'peak']
        for row in rows:
            check_row(row)
            assert row['status'] == 'ok' or row['variant'] == 'clblast', row
        own = [row for row in rows if row['variant'] == 'own']
        assert [row['name'] for row in own] == ['matmul tn 3x24x16x40'] + [f'conv {p} 2x9x8x4x8x3x2' for p in
                                                                            ('forward', 'data', 'weight')]
        assert [row['flops'] for row in own] == [2 * 3 * 24 * 16 * 40] + 3 * [2 * 2 * 5 * 4 * 8 * 3 * 3 * 4]


def test_operands_of_eight_bits():
    """What a policy rounds operands to apart from values is what is multiplied: right by its own numbers."""
    for device in devices():
        rows = [row for row in rows_of('--device', device, '--suite', 'gemm,conv', '--shape', '24x16x40,2x9x8x4x8x3x1',
                                       '--precision', 'fp8,int8-qat', '--transpose', 'nn', *QUICK) if row['variant'] == 'own']
        assert len(rows) == 2 * 4 and all(row['status'] == 'ok' for row in rows), rows
        sizes = {(row['name'].split(' 2')[0], row['policy']): row['bytes'] for row in rows}
        assert sizes['matmul nn', 'int8-qat'] == sizes['matmul nn', 'fp8'] == 24 * 40 + 40 * 16 + 4 * 24 * 16, sizes
        assert sizes['conv data', 'fp8'] < sizes['conv data', 'int8-qat'], sizes # whose gradients stay single


def glslang_version():
    text = subprocess.run(['glslangValidator', '--version'], text=True, stdout=subprocess.PIPE, check=False).stdout
    return int(re.search(r'Version: \d+:(\d+)', text).group(1))


def test_peak_kernels():
    """What the device has and the build can express is measured and right; for the rest the reason says what is missing."""
    reasons = {'fp16 scalar': 'half arithmetic', 'fp16 vector': 'half arithmetic', 'bf16': 'BF16',
               'int8 dot': 'integer_dot_product', 'matrix units fp16': 'matrix units|glslang 13', 'matrix units bf16':
               'matrix units|matrices of BF16', 'matrix units fp8': 'wgmma', 'matrix units int8': 'wgmma'}
    for device in devices()[1:]:
        document = json.loads(bench('--device', device, '--suite', 'peak', *QUICK, '-o', 'json'))
        units, rows = document['devices'][0]['matrix_units'], {row['name']: row for row in document['rows']}
        for name, row in rows.items():
            check_row(row)
            if row['status'] == 'unsupported':
                assert re.search(reasons[name], row['reason']), row
        assert rows['fp32']['status'] != 'unsupported'
        if 'KHR_cooperative_matrix' in units and units.count('-> f32') and glslang_version() >= 13:
            assert rows['matrix units fp16']['status'] == 'ok', rows['matrix units fp16']


def test_train():
    rows = rows_of('--device', 'reference', '--suite', 'train', '--shape', '4', '--precision', 'fp16', '--reps', '3')
    assert [row['name'] for row in rows] == ['mlp batch 4', 'lenet batch 4']
    for row in rows:
        check_row(row)
        assert row['count'] == 4
    rows = rows_of('--device', 'reference', '--suite', 'train', '--shape', '1', '--precision', 'fp32', '--reps', '3', '--model',
                   'resnet20')
    assert [row['name'] for row in rows] == ['resnet20 batch 1'] and rows[0]['status'] in ('ok', 'noisy'), rows
    bench('--suite', 'train', '--model', 'nope', status=2, stderr='no such model')


def test_limits():
    wrong = ['--suite', 'peak', '--device', 'all', '--limit']
    if len(devices()) > 1:
        bench(*wrong, 'shared=1', status=2, stderr='minimum-vulkan')
    bench('--suite', 'peak', '--device', 'reference', '--limit', 'mali-g52', status=1, stderr='name another device')
    for device in devices()[1:]:
        arguments = ['--device', device, '--suite', 'reduce,peak', '--shape', '32x64', '--precision', 'fp16', *QUICK, '--limit',
                     'intel-uhd,fp16=packed']
        document = json.loads(bench(*arguments, '-o', 'json'))
        assert document['devices'][0]['limits']['max_workgroup_items'] <= 256
        for row in document['rows']:
            check_row(row)
            assert row['limit'] == 'intel-uhd,fp16=packed'
            assert row['name'] not in ('fp16 vector', 'matrix units fp16') or row['status'] == 'unsupported', row
        assert 'limited to intel-uhd,fp16=packed' in bench(*arguments)


REDUCE = ['--device', 'reference', '--suite', 'reduce', '--shape', '16x8', '--precision', 'fp32', *QUICK]
NAMES = ['row sums 16x8', 'column sums 16x8', 'row maxima 16x8', 'softmax 16x8']


def test_text_formats():
    table = bench(*REDUCE)
    assert all(name in table for name in NAMES) and 'GB/s' in table
    markdown = bench(*REDUCE, '-o', 'md').splitlines()
    cells = [line.count('|') for line in markdown if line.startswith('|')]
    assert len(cells) == 2 + len(NAMES) and len(set(cells)) == 1, markdown
    lines = list(csv.DictReader(io.StringIO(bench(*REDUCE, '--format', 'csv'), newline='')))
    assert [line['name'] for line in lines] == NAMES and all(float(line['value']) > 0 for line in lines)
    objects = [json.loads(line) for line in bench(*REDUCE, '-o', 'jsonl').splitlines()]
    assert [row['name'] for row in objects] == NAMES
    for row in objects:
        check_row(row)


def test_sql():
    database = sqlite3.connect(':memory:')
    script = bench('--device', 'reference', '--suite', 'peak', '-o', 'sql')
    database.executescript(script)
    database.executescript(script)  # a second run's rows go into the same table
    rows = database.execute('select name, status, reason, value from bench').fetchall()
    assert len(rows) == 2 * 9 and all(row[1] == 'unsupported' and row[2] and row[3] is None for row in rows)


def test_json():
    document = json.loads(bench(*REDUCE, '--json'))
    assert document['format_version'] == 1 and document['kind'] == 'bench'
    assert document['settings']['reps'] == 3 and document['settings']['warmup_ms'] == 200
    assert document['devices'][0]['id'] == 'reference'
    assert len(document['rows'][0]['wall_ns']) == 3


class Balance(html.parser.HTMLParser):
    """Every element that needs an end has one, nothing is fetched."""

    EMPTY = {'meta'}

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        assert not {'src', 'href'} & {name for name, _ in attrs}, attrs
        assert tag != 'script'
        self.seen.append(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f'</{tag}>'


def test_html():
    page = bench(*REDUCE, '--shape', '65536,16x8', '--suite', 'bandwidth,reduce', '-o', 'html')
    parser = Balance()
    parser.feed(page)
    assert not parser.open, parser.open
    assert 'svg' in parser.seen and 'circle' in parser.seen, 'no roofline'
    assert page.count('<figure>') == 1 and all(name in page for name in NAMES)
    assert 'unsupported: the reference interprets graphs' in page


def test_output_and_compare():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / 'before.json'
        assert bench(*REDUCE, '-o', 'json', '--output', path) == ''
        before = json.loads(path.read_text())
        before['rows'][0]['value'] *= 100  # so this one is slower now
        before['rows'][1]['value'] /= 100
        before['rows'][2]['name'] = 'something else'
        path.write_text(json.dumps(before))
        rows = rows_of(*REDUCE, '--compare', path)
        assert rows[0]['change'] == 'slower' and rows[0]['ratio'] < 1, rows[0]
        assert rows[1]['change'] == 'faster' and rows[1]['ratio'] > 1, rows[1]
        assert rows[2]['change'] == '' and rows[2]['ratio'] is None, rows[2]
        table = bench(*REDUCE, '--compare', path)
        assert re.search(r'row sums.*x slower', table) and re.search(r'column sums.*x faster', table), table
        assert 'slower' in bench(*REDUCE, '--compare', path, '-o', 'jsonl')
        (pathlib.Path(folder) / 'other.json').write_text('{"kind": "train"}')
        (pathlib.Path(folder) / 'broken.json').write_text('{"kind"')
        bench(*REDUCE, '--compare', pathlib.Path(folder) / 'other.json', status=1, stderr='not what `binade bench')
        bench(*REDUCE, '--compare', pathlib.Path(folder) / 'broken.json', status=1, stderr='not JSON')
        bench(*REDUCE, '--compare', pathlib.Path(folder) / 'none.json', status=1, stderr='none.json')
        bench(*REDUCE, '--compare', folder, status=1, stderr='a folder')
        begun = time.monotonic() # before anything is measured: each row would pause
        bench(*REDUCE, '--delay', '60', '--output', pathlib.Path(folder) / 'none' / 'x', status=1, stderr='cannot write')
        bench(*REDUCE, '--delay', '60', '--output', folder, status=1, stderr='a folder is in its place')
        assert time.monotonic() - begun < 60, 'found only after the measuring'


def test_too_slow_is_skipped():
    rows = rows_of('--device', 'reference', '--suite', 'gemm', '--shape', '512', '--transpose', 'nn', '--precision',
                   'fp32', '--max-time', '0.01')
    row = [row for row in rows if row['suite'] == 'gemm'][0]
    assert row['status'] == 'skipped' and '--max-time' in row['reason'], row


def test_equal_policies():
    """Kernels of mixed are those of fp16: once by default, twice where both are named."""
    gemm = ['--device', 'reference', '--suite', 'gemm', '--shape', '8', '--transpose', 'nn', *QUICK]
    assert [row['policy'] for row in rows_of(*gemm) if row['suite'] == 'gemm'] == ['fp32', 'fp16', 'fp16-strict']
    both = rows_of(*gemm, '--precision', 'fp16,mixed,scale=8')
    assert [row['policy'] for row in both if row['suite'] == 'gemm'] == ['fp16', 'mixed,scale=8']


def test_bad_options():
    for arguments, message in (
            (['--suite', 'gem'], 'no such suite'),
            (['--suite', 'gemm,'], 'empty'),
            (['--suite', 'launch', '--shape', '8'], 'no suite that runs takes'),
            (['--suite', 'gemm', '--shape', '3x4'], 'gemm takes MxNxK, N or BATCHxMxNxK'),
            (['--suite', 'gemm', '--shape', '8-4+1'], '--shape 8-4'),
            (['--transpose', 'xy'], 'nn, nt, tn and tt'),
            (['--precision', 'fp17'], 'fp17'),
            (['--device', 'cuda:0'], 'cuda:0'),
            (['--warmup', '100'], 'from 200'),
            (['--reps', '0'], '--reps'),
            (['--max-time', 'x'], '--max-time'),
            (['-o', 'xml'], 'table|csv'),
            (['--json', '-o', 'csv'], '--json'),
            (['--what'], '--what'),
            (['extra'], 'extra')):
        bench(*arguments, status=2, stderr=message)


def test_help():
    text = bench('--help')
    assert '-o, --format' in text and all(suite in text for suite in UNITS)


def test_interrupt_keeps_what_was_measured():
    process = subprocess.Popen([BINADE, 'bench', '--device', 'reference', '--suite', 'reduce', '--shape', '16x8',
                                '--delay', '30', '-o', 'json', '--quiet'],
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, (process.returncode, error)
    rows = json.loads(out)['rows']
    assert len(rows) == 1 and rows[0]['status'] == 'ok', rows


def main():
    wanted = sys.argv[2:]
    tests = [(name[5:], test) for name, test in globals().items()
             if name.startswith('test_') and (not wanted or any(word in name for word in wanted))]
    failed = 0
    for name, test in tests:
        begun = time.monotonic()
        try:
            test()
            print(f'ok      {name} ({time.monotonic() - begun:.1f} s)', flush=True)
        except (AssertionError, subprocess.TimeoutExpired, KeyError, ValueError, sqlite3.Error) as error:
            failed += 1
            print(f'FAILED  {name}: {error}', flush=True)
    print(f'{len(tests) - failed} passed, {failed} failed')
    return 1 if failed or not tests else 0


if __name__ == '__main__':
    sys.exit(main())
