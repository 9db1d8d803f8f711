"""A made-up data set of a few images, in a folder of IDX files, for tests that only need something to train on."""
import struct

SIDE, CLASSES = 4, 10


def write(folder, train, test):
    for name, count in (('train', train), ('t10k', test)):
        pixels, labels = bytes(i * 37 % 251 for i in range(count * SIDE * SIDE)), bytes(i % CLASSES for i in range(count))
        (folder / f'{name}-images-idx3-ubyte').write_bytes(struct.pack('>HBBIII', 0, 8, 3, count, SIDE, SIDE) + pixels)
        (folder / f'{name}-labels-idx1-ubyte').write_bytes(struct.pack('>HBBI', 0, 8, 1, count) + labels)
