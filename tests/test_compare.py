#!/usr/bin/env python3
"""binade compare: tables, results.json, the report, measures, going on after an end, and the report of made-up results.

    test_compare.py BINADE REPORT_SAMPLE '' [NAME...]     only the tests whose names contain a NAME

On the reference device, as test_cli.py, whose helpers it uses. Prints `N passed, N failed`.
"""
import difflib
import html
import html.parser
import json
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

from test_cli import SAMPLE, SIDE, TEST, Skip, idx, one_line_error, run, start, main


class Page(html.parser.HTMLParser):
    """Every tag is closed in its order, and nothing comes from elsewhere."""
    VOID = {'meta', 'br', 'line', 'circle', 'path', 'i'}

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.charts = [], [], 0
        self.feed(text)
        assert not self.open, f'never closed: {self.open}'

    def handle_starttag(self, tag, attributes):
        assert tag not in ('script', 'link', 'img', 'iframe', 'object', 'embed'), tag
        for name, value in attributes:
            assert name not in ('src', 'href', 'srcset') and not name.startswith('on'), f'{tag} {name}={value}'
        self.charts += tag == 'figure'
        if tag != 'meta':
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f'</{tag}> closes nothing'

    def handle_data(self, data):
        self.text.append(data)


def check_report(path):
    text = path.read_text(encoding='utf-8')
    assert 'http' not in re.sub(r'http-equiv', '', text) and 'url(' not in text and '@import' not in text
    assert 'prefers-color-scheme:dark' in text and 'width=device-width' in text
    return Page(text)


def test_two_comparisons(place):
    """A second comparison into the folder of one that goes on ends at once, and changes nothing."""
    folder = place.path / 'both'
    arguments = place.tiny('--precision', 'fp32', '--epochs', '100000', '--output', folder, command='compare')
    process = start(*arguments)
    while not (folder / 'results.json').exists():
        time.sleep(0.02)
    before = json.loads((folder / 'results.json').read_text())['started']
    for more in [], ['--resume']:
        _, err = run(*arguments, *more, status=1)
        one_line_error(err, str(folder), 'another comparison', '--output')
    assert json.loads((folder / 'results.json').read_text())['started'] == before
    process.send_signal(signal.SIGINT)
    process.communicate()
    _, err = run(*arguments, '--epochs', '1') # its end frees the folder


def test_compare(place):
    out, err = run(*place.tiny('--precision', 'fp32,fp16,mixed,scale=1024', '--seeds', '2', command='compare'))
    table = [line for line in out.splitlines() if line.startswith('mlp:784-16-10')]
    assert len(table) == 3 and all('reference' in line and '%' in line for line in table)
    assert 'speed-up' in out and str(place.output / 'report.html') in out
    assert '\x1b' not in err
    results = json.loads((place.output / 'results.json').read_text())
    assert results['format_version'] == 1 and results['finished'] is True
    assert [row['precision'] for row in results['rows']] == ['fp32', 'fp16', 'mixed,scale=1024']
    for row in results['rows']:
        assert row['runs_done'] == 2 and len(row['runs']) == 2
        assert [run['seed'] for run in row['runs']] == [1, 2]
        accuracies = [run['test_accuracy'] for run in row['runs']]
        assert abs(row['test_accuracy'] - sum(accuracies) / 2) < 1e-6
        assert abs(row['test_accuracy_deviation'] - abs(accuracies[0] - accuracies[1]) / 2 ** 0.5) < 1e-6
        assert all(len(run['epochs']) == 2 for run in row['runs'])
    assert abs(results['rows'][0]['speedup_over_fp32'] - 1) < 1e-9
    page = check_report(place.output / 'report.html')
    assert page.charts >= 4
    assert not [path for path in place.output.iterdir() if path.name not in ('report.html', 'results.json')]


def test_compare_measures(place):
    """What is measured agrees with itself, and its intervals with Student's."""
    out, _ = run(*place.tiny('--precision', 'mixed,fp32,fp16', '--seeds', '3', '--epochs', '1', command='compare'))
    results = json.loads((place.output / 'results.json').read_text())
    assert results['ood'] == 'noise:3' and 'Against fp32' in out and 'within noise' in out
    rows = {row['precision']: row for row in results['rows']}
    for name, row in rows.items():
        for run_ in row['runs']:
            m = run_['measures']
            # The test's loss is a sum of F32, and in FP16 of rounded losses: 2^-11 of each.
            assert abs(m['nll'] - run_['test_loss']) <= 2 ** -10 * (1 + m['nll']), (m['nll'], run_['test_loss'])
            assert abs(m['accuracy'] - run_['test_accuracy']) < 1e-6
            assert sum(count for count, _, _ in run_['reliability']) == TEST
            ece = sum(count * abs(confidence - accuracy) for count, confidence, accuracy in run_['reliability']) / TEST
            assert abs(ece - m['ece']) < 1e-6 and 0 <= m['brier'] <= 2 and 0 <= m['ood_auroc'] <= 1
            right = sum(count * accuracy for count, _, accuracy in run_['reliability']) / TEST
            assert abs(right - m['accuracy']) < 1e-6
            assert (m['delta_mean'] is None) == (name == 'fp32')
        values = [run_['measures']['nll'] for run_ in row['runs']]
        mean = sum(values) / 3
        half = 4.302652730 * (sum((v - mean) ** 2 for v in values) / 2 / 3) ** 0.5
        nll = row['measures']['nll']
        assert abs(nll['mean'] - mean) < 1e-8 and abs(nll['high'] - mean - half) < 1e-6
        assert abs(mean - half - nll['low']) < 1e-6
    assert 'difference_from_fp32' not in rows['fp32']
    differences = [a['measures']['nll'] - b['measures']['nll'] for a, b in zip(rows['fp16']['runs'], rows['fp32']['runs'])]
    change = rows['fp16']['difference_from_fp32']['nll']
    assert abs(change['mean'] - sum(differences) / 3) < 1e-8 and change['seeds'] == 3
    assert change['within_noise'] == (change['low'] <= 0 <= change['high'])
    # mixed has FP32 weights, yet rounds what it computes with: neither is fp32, and neither is far off.
    for name in ('mixed', 'fp16'):
        m = rows[name]['measures']
        assert 0 < m['delta_mean']['mean'] < m['delta_max'] < 0.1 and m['violations'] == 0
        assert m['gamma_min'] > 0 and 0 < m['decided']['mean'] <= 1


def test_compare_rounding(place):
    """What rounding does is kept by layer and step, and shown."""
    run(*place.tiny('--precision', 'fp32,fp16', '--epochs', '3', '--measure', '2', command='compare'))
    results = json.loads((place.output / 'results.json').read_text())
    for row in results['rows']:
        rounding = row['runs'][0]['rounding']
        steps = [sample['step'] for sample in rounding['samples']]
        assert steps == [2 * (i + 1) for i in range(len(steps))] and len(steps) > 5 and rounding['stride'] == 1
        assert sum(rounding['exponents']['gradients']['counts']) > 0
        lost = {m['values']: m['underflow'] for m in rounding['samples'][0]['layers']}
        assert (lost['activations'] == 0) and (row['precision'] == 'fp16' or lost['gradients'] == 0)
    page = check_report(place.output / 'report.html')
    text = ' '.join(page.text)
    assert 'Where values lie' in text and 'Signal to quantisation noise' in text
    run(*place.tiny('--precision', 'fp32,fp16', '--epochs', '3', '--measure', '0', command='compare'))
    assert 'rounding' not in json.loads((place.output / 'results.json').read_text())['rows'][0]['runs'][0]
    assert 'Where values lie' not in (place.output / 'report.html').read_text()
    # Of a long run every second sample goes, again and again.
    run(*place.tiny('--precision', 'fp16', '--epochs', '20', '--measure', '1', command='compare'))
    rounding = json.loads((place.output / 'results.json').read_text())['rows'][0]['runs'][0]['rounding']
    steps = [sample['step'] for sample in rounding['samples']]
    assert rounding['stride'] > 1 and 16 <= len(steps) <= 32
    assert all(step % rounding['stride'] == 0 for step in steps)


def test_compare_sharpness(place):
    """Two measures that are there where they were asked for, of an image's model and of a text's; another box is another comparison."""
    tiny = place.tiny('--precision', 'fp32,fp16', '--seeds', '2', '--epochs', '1', '--sharpness', '0.001', command='compare')
    out, _ = run(*tiny)
    results = json.loads((place.output / 'results.json').read_text())
    assert results['sharpness_epsilon'] == 0.001 and 'sharpness' in out
    for row in results['rows']:
        assert all(row['measures'][name]['low'] < row['measures'][name]['mean'] for name in ('sharpness', 'logit_sharpness'))
        assert all(run_['measures']['sharpness'] > 0 < run_['measures']['logit_sharpness'] for run_ in row['runs'])
    assert {'sharpness', 'logit_sharpness'} < results['rows'][1]['difference_from_fp32'].keys()
    assert 'logits' in ''.join(check_report(place.output / 'report.html').text)
    _, err = run(*tiny[:-1], '0.002', '--resume', status=2)
    one_line_error(err, 'sharpness_epsilon', '0.001', '0.002')
    run(*tiny[:-2], '--precision', 'fp32')
    run_ = json.loads((place.output / 'results.json').read_text())['rows'][0]['runs'][0]
    assert run_['measures']['sharpness'] is None and 'logits' not in ''.join(check_report(place.output / 'report.html').text)


def test_reproduce(place):
    """A claim that needs many runs: a form of it with two steps. What is done is kept; what data are missing is said."""
    claim = ['reproduce', 'R3', 'R12', '--data', place.data, '--device', 'reference', '--steps', '2', '--seeds', '2', '--json',
             '--output', place.output]
    out, err = run(*claim)
    missing, found = json.loads(out)['claims']
    assert missing['name'] == 'R3' and missing['verdict'] == 'not run here' and '--cifar10' in missing['missing']
    assert found['verdict'] in ('holds', 'fails', 'not decided'), found
    assert re.search(r'^fp32 \S+%; fp8 \S+ \(\S+ to \S+\) points from fp32, 2 seeds, 1 epoch$', found['result']), found['result']
    assert found['command'].startswith('binade reproduce R12 --device reference --data ') and '--seeds 2' in found['command']
    assert 'binade compare' in err and (place.output / 'R12' / 'report.html').exists()
    again, err = run(*claim)
    assert again == out and 'epoch' not in err
    _, err = run(*claim[:-4], '1', '--json', '--output', place.output, status=2)
    assert 'seeds' in err and '--resume' in err
    assert not json.loads(run('reproduce', '--quick', 'R2', 'R12', '--device', 'reference', '--json')[0])['claims']


def test_compare_ood(place):
    """Another data set is out of distribution too; it must have the same shape."""
    other, larger = place.path / 'other', place.path / 'larger'
    other.mkdir(), larger.mkdir()
    noise = random.Random(5)
    for folder, side in ((other, SIDE), (larger, SIDE + 4)):
        for name in ('train', 't10k'):
            (folder / f'{name}-images-idx3-ubyte').write_bytes(idx((20, side, side), noise.randbytes(20 * side * side)))
            (folder / f'{name}-labels-idx1-ubyte').write_bytes(idx((20,), bytes(i % 10 for i in range(20))))
    tiny = place.tiny('--precision', 'fp32', '--quiet', command='compare')
    run(*tiny, '--ood', other)
    results = json.loads((place.output / 'results.json').read_text())
    assert results['ood'].startswith('other') or 'other' in results['ood'], results['ood']
    assert results['rows'][0]['measures']['ood_auroc']['mean'] > 0.9, 'noise alone is told from bars with ease'
    _, err = run(*tiny, '--ood', larger, status=2)
    one_line_error(err, '--ood', '32x32x1', '28x28x1')
    aurocs = []
    for ood in ('contrast:1', 'contrast:5'):
        run(*tiny, '--ood', ood)
        results = json.loads((place.output / 'results.json').read_text())
        assert results['ood'] == ood
        aurocs.append(results['rows'][0]['measures']['ood_auroc']['mean'])
    assert aurocs[0] < aurocs[1]


TIMES = {'seconds', 'step_ms', 'images_per_second', 'speedup_over_fp32', 'training_curve', 'started', 'command'}


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def results_of(folder):
    return without_times(json.loads((folder / 'results.json').read_text()))


def expect_same(a, b):
    """All numbers but times are the same. Training losses are summed in F32 over intervals that end when time has passed, so their
    last bits belong to the times: eight steps of 2^-24 each."""
    losses = []
    for results in (a, b):
        epochs = [epoch for row in results['rows'] for run_ in row['runs'] for epoch in run_['epochs']]
        losses.append([epoch.pop('train_loss') for epoch in epochs])
    assert a == b, '\n'.join(difflib.unified_diff(*(json.dumps(x, indent=1).splitlines() for x in (a, b)), n=1))
    for x, y in zip(*losses):
        assert abs(x - y) <= 8 * 2 ** -24 * abs(x), (x, y)


def stop_at(process, line, number):
    for text in process.stderr:
        if text.startswith(line):
            break
    process.send_signal(number)
    process.communicate(timeout=60)


def test_compare_resume(place):
    """A comparison that was stopped anywhere, however, goes on and gives the numbers of one that was not."""
    def compare(folder, *more):
        return ['compare', '--data', place.data, '--model', 'mlp:784-16-10', '--device', 'reference', '--batch', '64',
                '--epochs', '20', '--precision', 'mixed,fp32', '--seeds', '2', '--measure', '3', '--output', folder,
                *more]
    whole, parts = place.path / 'whole', place.path / 'parts'
    run(*compare(whole, '--quiet'))
    begin = lambda *more: start(*compare(parts, *more))
    process = begin()
    stop_at(process, '[1/4] mlp:784-16-10 reference fp32  epoch 3/', signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    state = json.loads((parts / 'results.json').read_text())
    assert state['rows'][1]['runs'][0]['state'] == 'running' and len(state['rows'][1]['runs'][0]['epochs']) >= 3
    for line, number, first in (('[2/4] mlp:784-16-10 reference fp32  epoch 4/', signal.SIGINT, '[1/4]'),
                                ('[3/4] mlp:784-16-10 reference mixed  epoch 5/', signal.SIGKILL, '[2/4]'),
                                ('[4/4] mlp:784-16-10 reference mixed  epoch 2/', signal.SIGINT, '[3/4]')):
        process = begin('--resume')
        opening = process.stderr.readline()
        assert opening.startswith(first) and not re.search(r'epoch [123]/', opening), opening
        stop_at(process, line, number)
        assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    _, err = run(*compare(parts, '--resume'))
    assert err.startswith('[4/4]'), err
    expect_same(results_of(parts), results_of(whole))
    assert json.loads((parts / 'results.json').read_text())['finished'] is True
    assert sorted(path.name for path in parts.iterdir()) == ['report.html', 'results.json']
    out, err = run(*compare(parts, '--resume'))
    assert not err and '(mixed' not in err and 'mixed on reference' in out, 'there was nothing left to do'
    expect_same(results_of(parts), results_of(whole))
    check_report(parts / 'report.html')
    # Without --resume it begins anew.
    process = begin()
    assert process.stderr.readline().startswith('[1/4] mlp:784-16-10 reference fp32  epoch 1/')
    process.kill()
    process.communicate()


def test_compare_warnings(place):
    """Each run tells once where rounding harms it, on stderr, and says which run it is."""
    lost = place.tiny('--measure', '3', '--precision', 'fp32,fp16', '--lr', '1e-5', '--momentum', '0', '--seeds', '2', command='compare')
    out, err = run(*lost)
    told = [line for line in err.splitlines() if 'warning: ' in line]
    assert [line[:5] for line in told] == ['[3/4]', '[4/4]'], err
    for line in told:
        assert re.search(r'fp16.*warning: step 3: \S+% of the updates of layer \S+ change no weight in f16; kahan=on', line), line
    out, err = run(*lost, '--quiet', '--json')
    assert json.loads(out) and not err, err


def test_compare_resume_elsewhere(place):
    """What is no earlier part of the same comparison is refused, and told apart."""
    compare = lambda *more: place.tiny('--precision', 'fp32', '--quiet', *more, command='compare')
    run(*compare('--resume')) # nothing to go on from: it begins
    before = (place.output / 'results.json').read_bytes()
    for options, fragments in ((['--lr', '0.5'], ['learning_rate', '0.05', '0.5']),
                               (['--epochs', '3'], ['epochs', '2', '3']),
                               (['--seed', '7'], ['seed', '1', '7']),
                               (['--seeds', '2'], ['seeds']),
                               (['--ood', 'blur'], ['ood', 'noise:3', 'blur:3']),
                               (['--on-nan', 'continue'], ['on_nan']),
                               (['--optimizer', 'adam'], ['sgd', 'adam']),
                               (['--precision', 'fp16'], ['precision', 'fp16', 'fp32']),
                               (['--precision', 'fp32,fp16'], ['rows']),
                               (['--model', 'mlp:784-8-10'], ['model', 'mlp:784-8-10'])):
        _, err = run(*compare('--resume', *options), status=2)
        one_line_error(err, 'results.json', '--resume', *fragments)
        assert (place.output / 'results.json').read_bytes() == before
    for damage in (lambda d: d['rows'][0]['runs'][0].pop('measures'),
                   lambda d: d['rows'][0]['runs'][0].update(state='asleep'),
                   lambda d: d['rows'][0]['runs'][0].update(epochs=[{}] * 3),
                   lambda d: d['rows'][0]['runs'][0].update(reliability=[[1, 2]]),
                   lambda d: d['rows'][0]['runs'][0].update(overflows='many')):
        worse = json.loads(before)
        damage(worse)
        (place.output / 'results.json').write_text(json.dumps(worse))
        _, err = run(*compare('--resume'), status=1)
        one_line_error(err, 'results.json', 'seed 1')
    for text in ('', '[]', '{"format_version": 1', before.decode()[:len(before) // 2]):
        (place.output / 'results.json').write_text(text)
        _, err = run(*compare('--resume'), status=2 if text == '[]' else 1)
        one_line_error(err, 'results.json')


def test_compare_resume_failed(place):
    """What failed is tried again; a damaged checkpoint is as none."""
    tiny = place.tiny('--precision', 'fp16,fp32', '--optimizer', 'adam', '--epochs', '1', command='compare')
    run(*tiny, status=1)
    first = results_of(place.output)
    _, err = run(*tiny, '--resume', status=1)
    assert '[1/2]' not in err and 'failed: ' in err, 'fp32 was done, fp16 was not'
    assert results_of(place.output) == first
    shutil.rmtree(place.output)
    slow = place.tiny('--precision', 'fp32', '--epochs', '12', command='compare')
    process = start(*slow)
    stop_at(process, '[1/1] mlp:784-16-10 reference fp32  epoch 3/', signal.SIGKILL)
    checkpoint, = (place.output / 'checkpoints').glob('*.safetensors')
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    _, err = run(*slow, '--resume')
    assert 'epoch 1/12' in err
    assert results_of(place.output)['rows'][0]['runs_done'] == 1


def test_compare_json(place):
    out, _ = run(*place.tiny('--precision', 'fp32', '--json', '--quiet', command='compare'))
    assert json.loads(out) == json.loads((place.output / 'results.json').read_text())


def test_compare_failure(place):
    """What fails is told in its row, and the others go on: FP16 rounds Adam's epsilon to nothing, which ends in NaN."""
    out, err = run(*place.tiny('--precision', 'fp16,fp32', '--optimizer', 'adam', command='compare'), status=1)
    assert 'failed (1 of 1)' in out
    results = json.loads((place.output / 'results.json').read_text())
    half, single = results['rows']
    assert half['runs'][0]['state'] == 'failed' and half['reason'] and half['test_accuracy'] is None
    assert single['runs'][0]['state'] == 'done' and single['test_accuracy'] > 0
    page = check_report(place.output / 'report.html')
    assert any('failed: ' in text for text in page.text)


def test_compare_interrupt(place):
    process = start(*place.tiny('--precision', 'fp32,fp16,mixed', '--seeds', '200', '--epochs', '20',
                                command='compare'))
    for line in process.stderr: # the first run is done, the second goes on
        if line.startswith('[2/'):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    results = json.loads((place.output / 'results.json').read_text())
    assert results['finished'] is False
    states = [run['state'] for row in results['rows'] for run in row['runs']]
    assert states[0] == 'done' and 'interrupted' in states and states[-1] == 'not_run'
    assert 'mlp:784-16-10' in out
    check_report(place.output / 'report.html')


def test_report_of_anything(place):
    """Hostile names, runs that diverge or fail, and what was not run."""
    subprocess.run([SAMPLE, place.path], check=True, stdout=subprocess.DEVNULL)
    page = check_report(place.path / 'report.html')
    text = ' '.join(page.text)
    assert "<script>alert('x')</script>" in text and '<b>out of memory</b>' in text and '\x1b' not in text
    dots = re.findall('<figure><figcaption>[^<]*by seed</figcaption>.*?</figure>', (place.path / 'report.html').read_text(), re.S)
    for figure in dots: # names whole, over several lines, and left of everything else
        lines = [html.unescape(line) for line in re.findall('<text class="label"[^>]*>(.*?)</text>', figure)]
        assert ''.join(lines) == 'fp32fp16mixed,scale=1024;linear1:w=f32,a=f32', lines
        left = min(float(x) for x in re.findall('(?:x1|cx)="([^"]*)"', figure))
        assert 8 * max(map(len, lines)) < left < 220 and max(map(len, lines)) <= 26
    assert len(dots) == 4
    results = json.loads((place.path / 'results.json').read_text(encoding='utf-8'))
    assert results['rows'][4]['runs_failed'] == 3 and results['rows'][-1]['runs'][0]['state'] == 'not_run'


def test_report_in_browser(place):
    browser = shutil.which('chromium')
    if not browser:
        raise Skip('chromium is not installed')
    subprocess.run([SAMPLE, place.path, 'plain'], check=True, stdout=subprocess.DEVNULL)
    sizes = []
    for width, more in ((1280, []), (500, []), (1280, ['--blink-settings=preferredColorScheme=0'])):
        picture = place.path / 'report.png'
        done = subprocess.run([browser, '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars',
                               f'--user-data-dir={place.path}/profile', f'--window-size={width},2000', *more,
                               '--enable-logging=stderr', f'--screenshot={picture}',
                               f'file://{place.path}/report.html'],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=120)
        assert done.returncode == 0
        assert 'CONSOLE' not in done.stderr, 'the browser complains: ' + done.stderr[-500:]
        raw = picture.read_bytes()
        assert raw.startswith(b'\x89PNG') and struct.unpack('>II', raw[16:24])[0] == width
        sizes.append(len(raw))
        picture.unlink()
    assert min(sizes) > 50000, f'an empty page: {sizes} bytes of PNG'


if __name__ == '__main__':
    sys.exit(main(globals()))
