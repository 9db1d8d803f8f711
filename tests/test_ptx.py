"""Compiles contractions and attention by NVIDIA's tensor cores, and sums by the last work-group, to PTX, as NVIDIA's driver would, and looks for what they must be made of; where ptxas
is found, assembles it. test_ptx.py PTX_SOURCES; exit status 77 without a clang that makes PTX."""
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CLANG = ['clang', '-x', 'cl', '-cl-std=CL1.2', '-target', 'nvptx64-nvidia-cuda', '-Xclang', '-finclude-default-header',
         '-Xclang', '-target-cpu', '-Xclang', 'sm_80', '-Xclang', '-target-feature', '-Xclang', '+ptx70', '-Dasm=__asm__', '-O2', '-Wall',
         '-Wno-unused', '-Wno-pass-failed', '-Werror', '-S', '-o', '-']
# Operands of 8 bits that are multiplied as they are: the sums' and the operands' formats, and whether one is copied and one turned round.
CODES = {
    'e4m3-e5m2': ('f32.e4m3.e5m2', True, True),
    'e5m2-e4m3-turned': ('f32.e5m2.e4m3', True, True),
    'e4m3-turned': ('f32.e4m3.e4m3', True, False),
    'e4m3-conv': ('f32.e4m3.e4m3', True, True),
    'e5m2-e4m3-data': ('f32.e5m2.e4m3', True, False),
    'e4m3-e5m2-weight': ('f32.e4m3.e5m2', False, True),
    'int8': ('s32.s8.s8', True, True),
    'int8-moved': ('s32.u8.s8', True, False),
    'int4-conv': ('s32.u8.s8', False, True),
}
COPY, EIGHT_BYTES = 'cp.async.c[ag].shared.global', r'ld.global(.nc)?.(v2.u32|u64|v2.b32|b64)'

# Of each case: the products' formats, whether operands are copied, whether eight codes are loaded at once, and what else there must be.
CASES = {
    'f16': ('f16', True, False, None),
    'bf16': ('bf16', True, False, None),
    'bf16-odd': ('bf16', False, False, None),
    'bf16-turned': ('bf16', True, False, None),
    'bf16-conv': ('bf16', True, False, None),
    'f16-conv': ('f16', True, False, None),
    'f16-data': ('f16', True, False, None),
    'bf16-weight': ('bf16', True, False, None),
    'bf16-e5m2': ('bf16', True, False, None),
    'e4m3-e5m2': ('f16', False, True, 'cvt.rn.f16x2.e4m3x2'),
    'e4m3-e5m2-odd': ('f16', False, False, None),
    'e5m2-e4m3-turned': ('f16', False, True, 'cvt.rn.f16x2.e4m3x2'),
    'e4m3-f16': ('f16', True, True, 'cvt.rn.f16x2.e4m3x2'),
    'e4m3-conv': ('f16', False, True, 'cvt.rn.f16x2.e4m3x2'),
    'e5m2-e4m3-data': ('f16', False, True, 'prmt.b32'),
    'e4m3-e5m2-weight': ('f16', False, True, 'prmt.b32'),
    'int8': ('f16', False, True, 'sub.rn.f16x2'),
    'int8-moved': ('f16', False, True, 'sub.rn.f16x2'),
    'int4-conv': ('f16', False, True, 'sub.rn.f16x2'),
    'e4m3-turned': ('f16', False, True, 'cvt.rn.f16x2.e4m3x2'),
    'e3m2-e4m0': ('f16', False, True, 'mul.rn.f16x2'),
    'e5m8': ('f16', False, False, None),
    'f16-columns': ('f16', True, False, None),
    'f16-few': ('f16', True, False, None),
    'bf16-few-weight': ('bf16', True, False, None),
    'attention-f16': ('f16', True, False, 'ex2.approx.ftz.f32'),
    'attention-f16-deep': ('f16', True, False, 'ldmatrix.sync.aligned.m8n8.x4.trans'),
    'attention-f16-few': ('f16', True, False, 'cvt.rn.f16x2.f32'),
    'attention-bf16': ('bf16', True, False, 'cvt.rn.bf16x2.f32'),
    'attention-f16-dropout': ('f16', True, False, 'mul.wide.u32'),
    'attention-bf16-dropout': ('bf16', True, False, 'mul.wide.u32'),
    'sums-product': ('f16', True, False, 'membar.gl'),
    'sums-moments': (None, False, False, 'membar.gl'),
}

# Whose panels warps of their own copy: all that are copied as they are.
COPIED_APART = {'f16', 'bf16', 'bf16-turned', 'bf16-conv', 'f16-conv', 'f16-data', 'bf16-weight', 'f16-columns', 'sums-product'}


def compiled(path):
    """The PTX of a kernel, with what is covered for sm_90a uncovered, as backends/opencl/build.c does it."""
    ptx = subprocess.run(CLANG + [path], capture_output=True, text=True)
    if ptx.returncode:
        sys.exit(f'{path.name}: clang: {ptx.stderr[:2000]}')
    text = ptx.stdout.replace('//+', '')
    return re.sub(r'^\.target sm_80', '.target sm_90a', re.sub(r'^\.version \S+', '.version 8.4', text, flags=re.M), flags=re.M)


def check(path, folder):
    name, _, kind = path.stem.rpartition('-')
    text = compiled(path)
    if kind in ('mma8', 'wgmma8'):
        formats, copies, turns = CODES[name]
        product = f'wgmma.mma_async.sync.aligned.m64n128k32.{formats} ' if kind == 'wgmma8' \
            else f'mma.sync.aligned.m16n8k32.row.col.{formats}.{formats[:3]} '
        assert product in text, f'{path.name}: no product of {formats}'
        assert bool(re.search(COPY, text)) == copies, f'{path.name}: copies to local memory {"expected" if copies else "not expected"}'
        assert ('prmt.b32' in text) == turns, f'{path.name}: an operand turned round {"expected" if turns else "not expected"}'
        assemble(path, text, folder)
        if kind == 'mma8': # without what only Hopper has: floats for Ada, whole numbers for Ampere
            for arch in ['sm_89', 'sm_120'] + ['sm_80'] * formats.startswith('s32'):
                assemble(path, text.replace('.target sm_90a', f'.target {arch}').replace('.version 8.4', '.version 8.7'), folder, arch)
        return
    units, copies, codes, conversion = CASES[name]
    product = 'add.rn.f32' if units is None else f'wgmma.mma_async.sync.aligned.m64n128k16.f32.{units}.{units}' if kind == 'wgmma' \
        else f'mma.sync.aligned.m16n8k16.row.col.f32.{units}.{units}.f32'
    assert product in text, f'{path.name}: no {product}'
    if kind == 'wgmma':
        apart = name in COPIED_APART
        for text_of_barriers in ('mbarrier.init.shared.b64', 'cp.async.mbarrier.arrive.noinc.shared.b64', 'mbarrier.try_wait.parity.shared.b64'):
            assert (text_of_barriers in text) == apart, f'{path.name}: {text_of_barriers} {"expected" if apart else "not expected"}'
    if name.startswith('sums-'):
        assert text.count('membar.gl') == 2 and 'atomic_inc' in text, f'{path.name}: its groups are not counted between two fences'
    if name == 'sums-product':
        assert len(re.findall(r'^\s*\.shared', text, re.M)) == 1, f'{path.name}: Vulkan launches kernels with one array in shared memory only'
    assert bool(re.search(COPY, text)) == copies, f'{path.name}: copies to local memory {"expected" if copies else "not expected"}'
    assert units is None or bool(re.search(EIGHT_BYTES, text)) == codes, f'{path.name}: loads of eight codes {"expected" if codes else "not expected"}'
    if kind == 'resident': # weights and pixels come by ldmatrix
        assert re.search(r'ldmatrix.sync.aligned.m8n8.x4(.trans)?.shared', text) and 'wgmma' not in text, f'{path.name}: not of fragments'
    if kind == 'resident' and 'few' in name: # numbers by themselves: a window's steps for sixteen pixels or rows are eight loads
        assert text.count('ld.shared.u16') >= 8, f'{path.name}: no numbers one by one'
    assert conversion is None or conversion in text, f'{path.name}: no {conversion}'
    assemble(path, text, folder)


def assemble(path, text, folder, arch='sm_90a'):
    if shutil.which('ptxas'):
        source = folder / (path.stem + '.ptx')
        source.write_text(text)
        done = subprocess.run(['ptxas', f'-arch={arch}', '--compile-only', '-o', folder / 'out.cubin', source],
                              capture_output=True, text=True)
        assert done.returncode == 0, f'{path.name}: ptxas for {arch}: {done.stdout[:2000]}{done.stderr[:2000]}'


def main():
    if not shutil.which('clang') or 'nvptx64' not in subprocess.run(['clang', '--print-targets'], capture_output=True, text=True).stdout:
        sys.exit(77)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        subprocess.run([sys.argv[1], folder], check=True)
        sources = sorted(folder.glob('*.cl'))
        assert {path.stem.rpartition('-')[0] for path in sources} == set(CASES)
        for kind in '-mma8', '-wgmma8':
            assert {path.stem.removesuffix(kind) for path in sources if path.stem.endswith(kind)} == set(CODES)
        for path in sources:
            check(path, folder)


main()
