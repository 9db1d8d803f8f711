"""binade reproduce: test_reproduce.py BINADE [DEVICE]

The claims that a CPU tests in minutes, on the first device. Those about arithmetic must hold, on any device, as must those whose effect is
many times what seeds differ by. Of R6 and R13, whose bounds lie within what seeds differ by, only what is certain is asked."""
import json
import re
import subprocess
import sys

BINADE, DEVICE = sys.argv[1], sys.argv[2:3]
HOLD = ['R1', 'R7', 'R9', 'R10', 'R14', 'R20']
CERTAIN = {'R6': r'1e-08: NaN in .*1e-07: NaN in ', 'R13': r'nu 3: [3-7]\..*nu 15: 0\.[45]'}


def reproduce(*arguments):
    done = subprocess.run([BINADE, 'reproduce', '--json', '--quiet', *arguments, *[f'--device={name}' for name in DEVICE]],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {claim['name']: claim for claim in json.loads(done.stdout)['claims']}


found = reproduce()
failed = 0
for name in sorted([*HOLD, *CERTAIN], key=lambda text: int(text[1:])):
    claim = found[name]
    good = bool(re.search(CERTAIN[name], claim['result'])) if name in CERTAIN else claim['verdict'] == 'holds'
    failed += not good
    print(f"{'ok    ' if good else 'FAILED'}  {name} {claim['verdict']}: {claim['result']}")
assert sorted(found) == sorted([*HOLD, *CERTAIN]), sorted(found)
assert reproduce('--quick', 'R2', 'R14').keys() == {'R14'}
assert [claim['verdict'] for claim in reproduce('R3', 'R18').values()] == ['not run here'] * 2, 'no data were named'
print(f'{len(HOLD) + len(CERTAIN) - failed} passed, {failed} failed')
sys.exit(failed > 0)
