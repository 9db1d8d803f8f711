#!/usr/bin/env python3
"""Makes the golden values of the networks, NAME.safetensors beside this file, with PyTorch in double precision.

Usage: make.py [NAME...]          (Debian: python3-torch, python3-numpy; about a minute for all)

The networks are written here a second time, from the study's description and Keras's sources, over plain PyTorch functions
(NCHW), and know nothing of apps/models but the parameters' names. Weights, images and labels need not be stored: they follow
from a formula that tests/test_golden.c has too (see `numbers`), rounded to F32. Dropout draws its mask from Philox4x32-10 as the
engine does, seed 1, step 0, a stream for each use. Each file holds, as F32: `loss` (mean of the batch of four), `logits` [4, 10],
and for each parameter in the order of its first use `norms` (of its gradient) and `samples` [parameters, 4], gradient elements
i * (count - 1) // 3; and `names`, 32 bits of each name's hash. Language models are given tokens [4, 16] and have logits [4, 16, 10];
token and label of place (i, j) are (5 i + 3 j * j) % 10 and (3 i + j) % 10. The loss has no L2 in it, batch normalisation its batch's statistics.
"""
import json, math, pathlib, struct, sys
import numpy as np, torch, torch.nn.functional as F

BATCH, CLASSES, PLACES = 4, 10, 16  # with two images DenseNet ends in normalisations of two numbers: 1e9 times the error of what comes in
U64 = np.uint64


def hash_name(name):
    """FNV-1a, 64 bits."""
    value = 14695981039346656037
    for byte in name.encode():
        value = (value ^ byte) * 1099511628211 % 2 ** 64
    return value


def uniform(name, count):
    """splitmix64 of hash + i, 24 bits of it in [0, 1)."""
    with np.errstate(over='ignore'):
        z = U64(hash_name(name)) + np.arange(count, dtype=U64) + U64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
        z = z ^ (z >> U64(31))
    return (z >> U64(40)).astype(np.float64) * 2.0 ** -24


def numbers(name, shape):
    """Weights: within sqrt(6 / fan in), all dimensions but the last; scales: 1 +- 0.2; images: +- 1.7; the rest: +- 0.1."""
    kind = name.rsplit('/', 1)[-1]
    spread = {'weight': math.sqrt(6 / math.prod(shape[:-1])), 'gamma': 0.2, 'images': 1.7}.get(kind, 0.1)
    values = (2 * uniform(name, math.prod(shape)) - 1) * spread + (1 if kind == 'gamma' else 0)
    return torch.from_numpy(values.astype(np.float32).astype(np.float64)).reshape(shape)


def philox(element, stream, step, seed):
    """The bits of each element, four of which share a counter's words: Salmon et al., SC 2011."""
    low, counter = U64(0xFFFFFFFF), element // U64(4)
    c = [counter, np.full_like(counter, stream, dtype=U64), np.full_like(counter, step, dtype=U64),
         np.zeros_like(counter, dtype=U64)]
    k = [U64(seed), U64(0)]
    for _ in range(10):
        a, b = U64(0xD2511F53) * c[0], U64(0xCD9E8D57) * c[2]
        c = [(b >> U64(32)) ^ c[1] ^ k[0], b & low, (a >> U64(32)) ^ c[3] ^ k[1], a & low]
        k = [(k[0] + U64(0x9E3779B9)) & low, (k[1] + U64(0xBB67AE85)) & low]
    return np.choose((element % U64(4)).astype(int), c)


class Net:
    """Parameters by name, and layers over them; images are NCHW, weights are kept as the engine has them (HWIO)."""

    def __init__(self):
        self.parameters, self.path, self.stream = {}, [], 0

    def at(self, name):
        net = self

        class Level:
            def __enter__(self):
                net.path.append(name)

            def __exit__(self, *_):
                net.path.pop()
        return Level()

    def get(self, name, *shape):
        full = '/'.join(self.path + [name])
        assert full not in self.parameters, full
        self.parameters[full] = numbers(full, shape).requires_grad_()
        return self.parameters[full]

    def linear(self, x, units, name):
        with self.at(name):
            return x @ self.get('weight', x.shape[-1], units) + self.get('bias', units)

    def window(self, x, weight, bias, stride, padding, groups=1):
        """padding: 'same' (TensorFlow's), 'valid' or a number."""
        size = weight.shape[0]
        if padding == 'same':
            x = F.pad(x, same_padding(x, size, stride))
        elif padding != 'valid':
            x = F.pad(x, [padding] * 4)
        # HWIO to OIHW; depthwise [h, w, 1, c] to [c, 1, h, w] by the same permutation
        return F.conv2d(x, weight.permute(3, 2, 0, 1), bias, stride, groups=groups)

    def conv(self, x, channels, size, stride, padding, name, bias=True):
        with self.at(name):
            weight = self.get('weight', size, size, x.shape[1], channels)
            return self.window(x, weight, self.get('bias', channels) if bias else None, stride, padding)

    def depthwise(self, x, stride, name, bias=True):
        with self.at(name):
            weight = self.get('weight', 3, 3, 1, x.shape[1])
            return self.window(x, weight, self.get('bias', x.shape[1]) if bias else None, stride, 'same', x.shape[1])

    def batch_norm(self, x, name, epsilon=1e-3):
        with self.at(name):
            gamma, beta = self.get('gamma', x.shape[1]), self.get('beta', x.shape[1])
            return F.batch_norm(x, None, None, gamma, beta, True, 0, float(np.float32(epsilon)))

    def layer_norm(self, x, name, epsilon=1e-6):
        with self.at(name):
            gamma, beta = self.get('gamma', x.shape[-1]), self.get('beta', x.shape[-1])
            return F.layer_norm(x, x.shape[-1:], gamma, beta, float(np.float32(epsilon)))

    def dropout(self, x, rate):
        keep = 1 - float(np.float32(rate))
        words = philox(np.arange(x.numel(), dtype=U64), self.stream, 0, 1)
        self.stream += 1
        mask = (words >> U64(8)).astype(np.float64) * 2.0 ** -24 < keep
        return x * torch.from_numpy(mask.astype(np.float64)).reshape(x.shape) / keep

    def attention_dropout(self, x, rate):
        """Of weights [n, heads, t, t]: four numbers are drawn for queries and keys that are 8 tokens apart, in whole sixteens of both."""
        n, heads, tokens, _ = x.shape
        sixteens = math.ceil(tokens / 16)
        blocks = torch.ones(n, heads, sixteens, 8, sixteens, 8, 2, 2, dtype=torch.float64)
        mask = self.dropout(blocks, rate).permute(0, 1, 2, 6, 3, 4, 7, 5).reshape(n, heads, 16 * sixteens, 16 * sixteens)
        return x * mask[:, :, :tokens, :tokens]


def same_padding(x, size, stride):
    pads = []
    for length in (x.shape[3], x.shape[2]):
        total = max((math.ceil(length / stride) - 1) * stride + size - length, 0)
        pads += [total // 2, total - total // 2]
    return pads


def flatten(x):
    """The engine's order: rows, columns, channels."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)


def mean(x):
    return x.mean((2, 3))


def alexnet(net, x):
    x = F.max_pool2d(F.relu(net.conv(x, 64, 3, 2, 'same', 'conv1')), 2, 2)
    x = F.max_pool2d(F.relu(net.conv(x, 96, 3, 1, 'same', 'conv2')), 3, 2)
    for name, channels in (('conv3', 256), ('conv4', 256), ('conv5', 512)):
        x = F.relu(net.conv(x, channels, 3, 1, 'same', name))
    x = flatten(F.max_pool2d(x, 3, 2))
    for name in ('linear1', 'linear2'):
        x = net.dropout(torch.tanh(net.linear(x, 4096, name)), 0.5)
    return net.linear(x, CLASSES, 'linear3')


def vgg(net, x, repeats):
    for stage, (channels, count) in enumerate(zip((64, 128, 256, 512, 512), repeats), 1):
        for i in range(1, count + 1):
            x = F.relu(net.conv(x, channels, 3, 1, 'same', f'conv{stage}_{i}'))
        x = F.max_pool2d(x, 2, 2)
    x = flatten(x)
    for name in ('linear1', 'linear2'):
        x = net.dropout(F.relu(net.linear(x, 4096, name)), 0.5)
    return net.linear(x, CLASSES, 'linear3')


def resnet(net, x, depth):
    x = net.conv(x, 16, 3, 1, 'same', 'conv')
    for stage, channels in enumerate((16, 32, 64), 1):
        for i in range(1, (depth - 2) // 6 + 1):
            stride = 2 if stage > 1 and i == 1 else 1
            with net.at(f'stage{stage}/unit{i}'):
                h = F.relu(net.batch_norm(x, 'norm1'))
                y = net.conv(h, channels, 3, stride, 'same', 'conv1')
                y = net.conv(F.relu(net.batch_norm(y, 'norm2')), channels, 3, 1, 'same', 'conv2')
                x = (net.conv(h, channels, 1, stride, 'same', 'projection') if stride == 2 else x) + y
    return net.linear(mean(F.relu(net.batch_norm(x, 'norm'))), CLASSES, 'linear')


def densenet(net, x, repeats):
    def norm(x, name):
        return F.relu(net.batch_norm(x, name, 1.001e-5))
    x = norm(net.conv(x, 64, 7, 2, 3, 'conv', bias=False), 'norm1')
    x = F.max_pool2d(F.pad(x, [1] * 4), 3, 2)
    for block, count in enumerate(repeats, 1):
        for i in range(1, count + 1):
            with net.at(f'block{block}/layer{i}'):
                y = net.conv(norm(x, 'norm1'), 128, 1, 1, 'valid', 'conv1', bias=False)
                y = net.conv(norm(y, 'norm2'), 32, 3, 1, 'same', 'conv2', bias=False)
            x = torch.cat([x, y], 1)
        if block < 4:
            with net.at(f'transition{block}'):
                x = net.conv(norm(x, 'norm'), x.shape[1] // 2, 1, 1, 'valid', 'conv', bias=False)
            x = F.avg_pool2d(x, 2, 2)
    return net.linear(mean(norm(x, 'norm2')), CLASSES, 'linear')


def xception(net, x):
    def separable(x, channels, number):
        with net.at(f'separable{number}'):
            x = net.conv(net.depthwise(x, 1, 'depthwise', bias=False), channels, 1, 1, 'valid', 'pointwise', bias=False)
            return net.batch_norm(x, 'norm')

    def shrink(x, between, channels, before):
        beside = net.batch_norm(net.conv(x, channels, 1, 2, 'same', 'projection', bias=False), 'projection_norm')
        x = separable(F.relu(x) if before else x, between, 1)
        x = separable(F.relu(x), channels, 2)
        return F.max_pool2d(F.pad(x, same_padding(x, 3, 2), value=-math.inf), 3, 2) + beside
    x = F.relu(net.batch_norm(net.conv(x, 32, 3, 2, 'valid', 'conv1', bias=False), 'norm1'))
    x = F.relu(net.batch_norm(net.conv(x, 64, 3, 1, 'valid', 'conv2', bias=False), 'norm2'))
    for block, channels in ((2, 128), (3, 256), (4, 728)):
        with net.at(f'block{block}'):
            x = shrink(x, channels, channels, block > 2)
    for block in range(5, 13):
        with net.at(f'block{block}'):
            y = x
            for i in (1, 2, 3):
                y = separable(F.relu(y), 728, i)
            x = x + y
    with net.at('block13'):
        x = shrink(x, 728, 1024, True)
    with net.at('block14'):
        x = F.relu(separable(F.relu(separable(x, 1536, 1)), 2048, 2))
    return net.linear(F.relu(net.linear(mean(x), 1024, 'linear1')), CLASSES, 'linear2')


def mobilenet(net, x):
    x = F.relu(net.batch_norm(net.conv(x, 32, 3, 1, 'same', 'conv'), 'norm'))
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + 5 * [(512, 1)] + [(1024, 2), (1024, 1)]
    for i, (channels, stride) in enumerate(plan, 1):
        with net.at(f'block{i}'):
            x = F.relu(net.batch_norm(net.depthwise(x, stride, 'depthwise'), 'norm1'))
            x = F.relu(net.batch_norm(net.conv(x, channels, 1, 1, 'valid', 'pointwise'), 'norm2'))
    return net.linear(mean(x), CLASSES, 'linear')


def vit(net, x, depth):
    n = x.shape[0]
    x = x[:, :, :30, :30].reshape(n, 3, 5, 6, 5, 6).permute(0, 2, 4, 3, 5, 1).reshape(n, 25, 108)
    x = net.linear(x, 64, 'patches') + net.get('positions', 25, 64)
    for i in range(1, depth + 1):
        with net.at(f'block{i}'):
            with net.at('attention'):
                q, k, v = net.linear(x, 3 * 256, 'qkv').reshape(n, 25, 3, 4, 64).permute(2, 0, 3, 1, 4)
                y = F.softmax(q @ k.transpose(2, 3) / 8, -1) @ v
                y = net.linear(y.transpose(1, 2).reshape(n, 25, 256), 64, 'output')
            x = net.layer_norm(x + net.dropout(y, 0.1), 'norm1')
            y = net.linear(F.gelu(net.linear(x, 512, 'linear1')), 64, 'linear2')
            x = net.layer_norm(x + net.dropout(y, 0.1), 'norm2')
    x = net.dropout(net.layer_norm(x, 'norm').reshape(n, -1), 0.5)
    for name in ('head1', 'head2'):
        x = F.gelu(net.linear(x, 512, name))
    return net.linear(x, CLASSES, 'head3')


def gpt(net, tokens, depth, width, heads, context, rate):
    n, places = tokens.shape
    x = net.get('tokens', CLASSES, width)[tokens] + net.get('positions', context, width)[:places]
    x = net.dropout(x, rate) if rate else x
    for i in range(1, depth + 1):
        with net.at(f'block{i}'):
            qkv = net.linear(net.layer_norm(x, 'norm1', 1e-5), 3 * width, 'qkv')
            q, k, v = qkv.reshape(n, places, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            hidden = torch.ones(places, places, dtype=torch.bool).triu(1)
            weights = F.softmax((q @ k.transpose(2, 3) / math.sqrt(width // heads)).masked_fill(hidden, -math.inf), -1)
            y = (net.attention_dropout(weights, rate) if rate else weights) @ v
            y = net.linear(y.transpose(1, 2).reshape(n, places, width), width, 'output')
            x = x + (net.dropout(y, rate) if rate else y)
            y = net.linear(F.gelu(net.linear(net.layer_norm(x, 'norm2', 1e-5), 4 * width, 'linear1')), width, 'linear2')
            x = x + (net.dropout(y, rate) if rate else y)
    return net.linear(net.layer_norm(x, 'norm', 1e-5), CLASSES, 'head')


GPTS = {
    'gpt-nano': lambda net, x: gpt(net, x, 4, 128, 4, 64, 0),
    'gpt-mini': lambda net, x: gpt(net, x, 6, 384, 6, 256, 0.2),
}
NETWORKS = {
    **GPTS,
    'alexnet': alexnet,
    'vgg16': lambda net, x: vgg(net, x, (2, 2, 3, 3, 3)),
    'vgg19': lambda net, x: vgg(net, x, (2, 2, 4, 4, 4)),
    **{f'resnet{n}': lambda net, x, n=n: resnet(net, x, n) for n in (20, 32, 44, 56, 110)},
    'densenet121': lambda net, x: densenet(net, x, (6, 12, 24, 16)),
    'densenet169': lambda net, x: densenet(net, x, (6, 12, 32, 32)),
    'xception': xception,
    'mobilenetv2': mobilenet,
    **{f'vit{n}': lambda net, x, n=n: vit(net, x, n) for n in (8, 12, 16)},
}


def write(path, arrays):
    header, data = {}, b''
    for name, array in arrays.items():
        kind = {'float32': 'F32', 'uint32': 'U32'}[str(array.dtype)]
        header[name] = dict(dtype=kind, shape=list(array.shape), data_offsets=[len(data), len(data) + array.nbytes])
        data += array.tobytes()
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    path.write_bytes(struct.pack('<Q', len(text)) + text + data)


def make(name):
    net = Net()
    images = numbers('images', (BATCH, 32, 32, 3)).permute(0, 3, 1, 2)
    labels = torch.tensor([3 * i % CLASSES for i in range(BATCH)])
    if name in GPTS:
        i, j = torch.arange(BATCH).reshape(-1, 1), torch.arange(PLACES)
        images, labels = (5 * i + 3 * j * j) % CLASSES, (3 * i + j) % CLASSES
    logits = NETWORKS[name](net, images)
    loss = F.cross_entropy(logits.reshape(-1, CLASSES), labels.reshape(-1))
    loss.backward()
    gradients = [p.grad.reshape(-1).numpy() for p in net.parameters.values()]
    samples = [[g[i * (len(g) - 1) // 3] for i in range(4)] for g in gradients]
    write(pathlib.Path(__file__).parent / f'{name}.safetensors', dict(
        loss=np.float32([loss.item()]), logits=logits.detach().numpy().astype(np.float32),
        norms=np.float32([np.linalg.norm(g) for g in gradients]), samples=np.float32(samples),
        names=np.array([hash_name(n) % 2 ** 32 for n in net.parameters], dtype=np.uint32)))
    print(f'{name:12} {sum(len(g) for g in gradients):>10} parameters in {len(gradients)}, loss {loss.item():.6f}')


if __name__ == '__main__':
    for each in sys.argv[1:] or NETWORKS:
        make(each)
