#!/usr/bin/env python3
"""`meson install`, into a folder whose name has a space: what is there works from there.

    test_install.py MESON BUILD EXAMPLE COMPILER...

Compiles and runs EXAMPLE against the installed library as pkg-config says, runs the installed program, and asks man,
bash, zsh and fish for what was installed for them. Tests of a program that is not installed are skipped. Prints
`N passed, N failed`.
"""
import os
import pathlib
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

import tiny_data

MESON, BUILD, EXAMPLE, *COMPILER = sys.argv[1:]
COMMANDS = ['devices', 'train', 'sample', 'compare', 'reproduce', 'bench', 'check']


class Skip(Exception):
    """This test cannot run here."""


def run(*command, env=None, **options):
    """Runs a command that must succeed, and returns its stdout."""
    done = subprocess.run([*map(str, command)], text=True, timeout=300, capture_output=True, check=False,
                          env=dict(os.environ, **(env or {})), **options)
    assert done.returncode == 0, f'{command[0]}: status {done.returncode}: {done.stdout[-300:]}{done.stderr[-600:]}'
    return done.stdout


def need(program):
    if not shutil.which(program):
        raise Skip(f'{program} is not installed')


class Installed:
    """The folders of an installation, and a few images to train on."""

    def __init__(self, folder):
        staging = folder / 'a destination'
        run(MESON, 'install', '-C', BUILD, '--no-rebuild', '--quiet', '--destdir', staging)
        self.pkgconfig, = {path.parent for path in staging.rglob('binade.pc')}
        prefix, = re.findall(r'^prefix=(.*)$', (self.pkgconfig / 'binade.pc').read_text(), re.M)
        self.prefix = staging / shlex.split(prefix)[0].lstrip('/')
        self.libraries = self.pkgconfig.parent
        self.program = self.prefix / 'bin/binade'
        self.share = self.prefix / 'share'
        self.work = folder / 'work'
        self.work.mkdir()
        tiny_data.write(self.work, 256, 64)
        self.env = {'BINADE_DATA': str(self.work), 'LD_LIBRARY_PATH': str(self.libraries)}


def test_pkg_config(here):
    """The example is compiled with what pkg-config says, and trains."""
    need('pkg-config')
    said = run('pkg-config', '--define-variable', 'prefix=' + str(here.prefix).replace(' ', r'\ '), '--cflags', '--libs',
               'binade', env={'PKG_CONFIG_PATH': str(here.pkgconfig)})
    run(*COMPILER, '-Wall', '-Werror', EXAMPLE, '-o', here.work / 'example', *shlex.split(said))
    assert 'test accuracy' in run(here.work / 'example', 'reference', env=here.env)
    version = run('pkg-config', '--modversion', 'binade', env={'PKG_CONFIG_PATH': str(here.pkgconfig)})
    assert run(here.program, '--version') == f'binade {version}'


def test_program(here):
    """From a folder of its own: kernels and all are inside."""
    out = run(here.program, 'train', '--device', 'reference', '--epochs', '1', '--quiet', cwd=here.work, env=here.env)
    assert 'test accuracy' in out and list(here.work.glob('runs/*/checkpoint.safetensors'))


def test_man(here):
    need('man')
    for name in ['binade'] + [f'binade-{command}' for command in COMMANDS]:
        found = run('man', '-M', here.share / 'man', '-w', name).strip()
        assert found == str(here.share / f'man/man1/{name}.1')
        done = subprocess.run(['man', '--warnings', '-E', 'UTF-8', '-l', found], capture_output=True, text=True,
                              env=dict(os.environ, MANPAGER='cat', MANWIDTH='80'), timeout=60, check=True)
        assert not done.stderr, f'{name}: {done.stderr}'
        assert 'EXAMPLES' in done.stdout or name == 'binade', f'{name}: {done.stdout[:200]}'


def press_tab(shell, ready, line, wanted, env):
    """Starts an interactive shell, waits until `ready` is printed, types a line and Tab, and waits for `wanted`."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(shell[0], shell, dict(os.environ, TERM='dumb', **env))
    seen, end = '', time.monotonic() + 60
    try:
        while wanted not in seen and time.monotonic() < end:
            if not select.select([terminal], [], [], 0.5)[0]:
                continue
            try:
                seen += os.read(terminal, 4096).decode(errors='replace')
            except OSError: # the shell has ended
                break
            if ready and ready in seen:
                os.write(terminal, line.encode() + b'\t\t')
                seen, ready = '', None
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)
    assert not ready and wanted in seen, f'{shell[0]}: no {wanted!r} in {seen!r}'


def test_bash(here):
    """bash-completion finds the file by the program's name."""
    loader = '/usr/share/bash-completion/bash_completion'
    if not os.path.exists(loader):
        raise Skip('bash-completion is not installed')
    start = here.work / 'bashrc'
    start.write_text(f'PS1=; . {loader}\nPS1=rea""dy\n')
    env = {'XDG_DATA_DIRS': str(here.share)}
    press_tab(['bash', '--noprofile', '--rcfile', str(start), '-i'], 'ready', 'binade train --optim', 'izer', env)
    press_tab(['bash', '--noprofile', '--rcfile', str(start), '-i'], 'ready', 'binade train --on-nan=', 'continue', env)


def test_zsh(here):
    need('zsh')
    folder = here.work / 'zsh'
    folder.mkdir()
    (folder / '.zshrc').write_text(f'PS1=; fpath=({shlex.quote(str(here.share))}/zsh/site-functions $fpath)\n'
                                   'autoload -Uz compinit; compinit -u -D\nPS1=rea""dy\n')
    env = {'ZDOTDIR': str(folder)}
    press_tab(['zsh', '-d', '-i'], 'ready', 'binade train --optim', 'izer', env)
    press_tab(['zsh', '-d', '-i'], 'ready', 'binade train --on-nan=', 'continue', env)
    press_tab(['zsh', '-d', '-i'], 'ready', 'binade ', 'compare', env)


def test_fish(here):
    need('fish')
    complete = lambda line: [entry.split('\t')[0] for entry in
                             run('fish', '-c', f'complete -C {shlex.quote(line)}', cwd=here.share,
                                 env={'HOME': str(here.work), 'XDG_DATA_DIRS': f'{here.share}:/usr/share',
                                      # fish completes only what it finds
                                      'PATH': f"{here.program.parent}:{os.environ['PATH']}"}).splitlines()]
    assert complete('binade ') == sorted(COMMANDS)
    assert complete('binade train --optim') == ['--optimizer']
    assert complete('binade train --optimizer ') == ['adam', 'adamw', 'sgd']
    assert 'man/' in complete('binade train --data ')


def main():
    passed, failed, skipped = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        here = Installed(pathlib.Path(folder))
        for name, test in list(globals().items()):
            if not name.startswith('test_'):
                continue
            try:
                test(here)
                passed += 1
                print(f'ok       {name}')
            except Skip as reason:
                skipped += 1
                print(f'skipped  {name}: {reason}')
            except (AssertionError, OSError, ValueError, subprocess.SubprocessError) as error:
                failed += 1
                print(f'FAILED   {name}: {error}')
            sys.stdout.flush()
    print(f'{passed} passed, {failed} failed' + (f', {skipped} skipped' if skipped else ''))
    return failed > 0


if __name__ == '__main__':
    sys.exit(main())
