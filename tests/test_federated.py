#!/usr/bin/env python3
"""binade compare --federated: bytes, accuracies, results.json, the report, going on after an end, mistakes.

    test_federated.py BINADE '' '' [NAME...]     only the tests whose names contain a NAME

On the reference device, as test_cli.py, whose helpers it uses. Prints `N passed, N failed`.
"""
import json
import signal
import sys

from test_cli import main, one_line_error, run, start
from test_compare import check_report, expect_same, results_of, stop_at

WEIGHTS, TENSORS = 784 * 16 + 16 + 16 * 10 + 10, 4
MESSAGES = {'f32': 4 * WEIGHTS, 'f8e4m3:stochastic': WEIGHTS + 4 * TENSORS, 'int4': WEIGHTS // 2 + 4 * TENSORS}
CLIENTS, ROUNDS = 4, 3


def federated(place, *more, output=None):
    return ['compare', '--federated', CLIENTS, '--data', place.data, '--model', 'mlp:784-16-10', '--device', 'reference',
            '--batch', '32', '--rounds', ROUNDS, '--output', output or place.output, *more]


def test_federated(place):
    """Bytes are those of the messages, accuracies those of the rounds, and both are shown."""
    out, err = run(*federated(place, '--wire', ','.join(MESSAGES), '--seeds', '2'))
    table = [line.split() for line in out.splitlines() if line.startswith('mlp:784-16-10')]
    assert [(line[2], line[-1]) for line in table] == [('f32', '1.00x'), ('f8e4m3:stochastic', '3.99x'), ('int4', '7.98x')]
    assert 'Against f32' in out and 'f8e4m3:stochastic on reference: accuracy' in out and 'round 3/3' in err
    results = json.loads((place.output / 'results.json').read_text())
    options = results['options']
    assert (options['clients'], options['rounds'], options['local_steps'], options['precision']) == (CLIENTS, ROUNDS, 4, 'fp32')
    assert 'epochs' not in options
    for row in results['rows']:
        bytes_ = ROUNDS * CLIENTS * MESSAGES[row['wire']]
        assert row['precision'] == 'fp32' and row['bytes_down'] == row['bytes_up'] == bytes_
        assert row['bytes_in_f32'] == 2 * ROUNDS * CLIENTS * MESSAGES['f32']
        assert abs(row['traffic_ratio'] - MESSAGES['f32'] / MESSAGES[row['wire']]) < 1e-6
        assert row['test_accuracy'] > 0.9, 'the bars are learned at once'
        for run_ in row['runs']:
            assert run_['bytes_up'] == bytes_ and [epoch['epoch'] for epoch in run_['epochs']] == [1, 2, 3]
            assert run_['epochs'][-1]['test_accuracy'] == run_['test_accuracy']
            assert run_['measures']['rounded_delta_mean'] is None
            assert (run_['measures']['delta_mean'] is None) == (row['wire'] == 'f32')
    assert results['rows'][1]['difference_from_fp32']['accuracy']['seeds'] == 2
    page = check_report(place.output / 'report.html')
    text = ' '.join(page.text)
    assert page.charts >= 4 and 'Bytes against accuracy' in text and 'MiB sent' in text and 'images/s' not in text
    assert sorted(path.name for path in place.output.iterdir()) == ['report.html', 'results.json']


def test_federated_once_more(place):
    """A run that was stopped begins again, what is done stays, and the numbers are the same."""
    options = ['--federated', '2', '--wire', 'int8:stochastic,f32', '--rounds', '20', '--local-steps', '2']
    whole, parts = place.path / 'whole', place.path / 'parts'
    run(*federated(place, *options, '--quiet', output=whole))
    process = start(*federated(place, *options, output=parts))
    stop_at(process, '[2/2] mlp:784-16-10 reference int8:stochastic  round 2/', signal.SIGINT)
    assert process.returncode == 130
    _, err = run(*federated(place, *options, '--resume', output=parts))
    assert err.startswith('[2/2]') and 'round 1/20' in err, err
    expect_same(results_of(parts), results_of(whole))
    for other, named in ((['--wire', 'int8,f32'], 'wire'), (['--rounds', '21'], 'rounds'), (['--local-steps', '3'], 'local_steps'),
                         (['--precision', 'mixed'], 'precision'), (['--federated', '3'], 'clients')):
        _, err = run(*federated(place, *options, *other, '--resume', output=parts), status=2)
        one_line_error(err, named, '--resume needs the same options')


def test_federated_mistakes(place):
    for options, fragments in ((['--wire', 'f32,f8e4m3:scale=none'], ['f8e4m3:scale=none', 'needs a scale', '448']),
                               (['--wire', 'f32,f9'], ["'f9'", 'f8e4m3']),
                               (['--wire', 'f32,'], ['--wire', 'empty']),
                               (['--precision', 'fp32,fp16'], ['in one precision']),
                               (['--precision', 'fp8'], ['operands=delayed']),
                               (['--epochs', '3'], ['--epochs', '--rounds']),
                               (['--federated', '0'], ['--federated']),
                               (['--federated', '600'], ['600 clients', '512'])):
        _, err = run(*federated(place, *options), status=2)
        one_line_error(err, *fragments)
        assert not place.output.exists()
    for option in ('--wire=f32', '--rounds=3', '--local-steps=3'):
        one_line_error(run('compare', option, status=2)[1], option.split('=')[0], 'needs --federated')
    text = place.path / 'text.txt'
    text.write_text('to be or not to be ' * 100)
    one_line_error(run('compare', '--federated', '2', '--model', 'gpt-nano', '--data', text, '--device', 'reference', status=2)[1],
                   'is a text')


if __name__ == '__main__':
    sys.exit(main(globals()))
