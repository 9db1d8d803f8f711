#!/usr/bin/env python3
"""Tables and picture of docs/study.md, from docs/study/cifar10.json:
study_plot.py [--check]

Replaces what stands between `<!-- NAME -->` and `<!-- end -->` in docs/study.md and writes docs/images/study-accuracy.svg.
With --check it writes nothing and fails where either would change."""
import json
import pathlib
import re
import statistics
import sys

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
PRECISIONS = {"fp32": "FP32", "fp16": "FP16", "mixed": "mixed"}
# arXiv 2301.12809 and 2305.10947: percent right, and seconds for 100 epochs.
PUBLISHED = {
    "resnet32": ("ResNet-32", {"fp16": 80.9, "fp32": 80.9, "mixed": 80.9}, {"fp16": 413, "fp32": 551, "mixed": 483}),
    "vit8": ("ViT-8", {"fp16": 71.0, "fp32": 71.3, "mixed": 71.2}, {"fp16": 316, "fp32": 423, "mixed": 410}),
    "alexnet": ("AlexNet", {"fp16": 76.0, "fp32": 75.8, "mixed": 75.9}, {"fp16": 96, "fp32": 174, "mixed": 150}),
    "vgg16": ("VGG-16", {"fp16": 83.7, "fp32": 83.9, "mixed": 83.8}, {"fp16": 377, "fp32": 857, "mixed": 455}),
}
# Those that ran with one seed: published percent only.
PUBLISHED_SINGLE = {
    "resnet56": ("ResNet-56", {"fp16": 81.6, "fp32": 81.4, "mixed": 81.5}),
    "resnet110": ("ResNet-110", {"fp16": 81.8, "fp32": 81.4, "mixed": 81.8}),
    "densenet121": ("DenseNet-121", {"fp16": 72.1, "fp32": 72.6, "mixed": 73.0}),
    "mobilenetv2": ("MobileNetV2", {"fp16": 69.4, "fp32": 70.0, "mixed": 70.0}),
    "vgg19": ("VGG-19", {"fp16": 83.8, "fp32": 83.9, "mixed": 83.9}),
    "xception": ("Xception", {"fp16": 75.9, "fp32": 76.3, "mixed": 76.3}),
    "vit12": ("ViT-12", {"fp16": 71.1, "fp32": 71.4, "mixed": 71.5}),
}
EPOCHS = 100
STUDENT_975 = {1: 12.706, 2: 4.303}  # by degrees of freedom
LAST = 10  # epochs whose spread is told


def half_width(values):
    """Half of the 95% interval of the mean."""
    n = len(values)
    return STUDENT_975[n - 1] * statistics.stdev(values) / n**0.5


def points(value):
    """A difference in percentage points, with its sign; no minus before zero."""
    text = f"{value:+.2f}"
    return text.replace("-", "−") if float(text) else "0.00"


def table(head, rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def accuracy_table(groups):
    rows = []
    for model, (name, accuracy, _) in PUBLISHED.items():
        for precision, label in PRECISIONS.items():
            runs = groups[model, precision]
            last = [100 * run["test_accuracy"][-1] for run in runs]
            best = [100 * max(run["test_accuracy"]) for run in runs]
            spread = [100 * statistics.stdev(run["test_accuracy"][-LAST:]) for run in runs]
            rows.append([name, label, str(len(runs)), ", ".join(f"{x:.2f}" for x in last),
                         f"**{statistics.mean(last):.2f}** ± {half_width(last):.2f}", f"{accuracy[precision]:.1f}",
                         f"{statistics.mean(best):.2f}", ", ".join(f"{x:.2f}" for x in spread),
                         f"{statistics.mean(run['train_loss'] for run in runs):.2g}"])
    return table(["network", "precision", "n", "seeds 1, 2, 3", "mean, 95%", "published", "best epoch, mean",
                  f"spread of the last {LAST} epochs, by seed", "final training loss"], rows)


def single_table(groups):
    """One run of each precision; one that was not trained to the end tells where it was, and is compared with nothing."""
    rows = []
    for model, (name, accuracy) in PUBLISHED_SINGLE.items():
        base = groups[model, "fp32"][0]["test_accuracy"]
        for precision, label in PRECISIONS.items():
            run, = groups[model, precision]
            tests = run["test_accuracy"]
            ended, compared = len(tests) == EPOCHS, precision != "fp32" and len(tests) == len(base) == EPOCHS
            rows.append([name, label, f"**{100 * tests[-1]:.2f}**" if ended else f"({100 * tests[-1]:.2f} after {len(tests)} epochs)",
                         f"{accuracy[precision]:.1f}", points(100 * (tests[-1] - base[-1])) if compared else "",
                         f"{100 * max(tests):.2f}", f"{100 * statistics.stdev(tests[-LAST:]):.2f}",
                         str(run["fitted_epoch"]) if ended and run["fitted_epoch"] else "", f"{run['train_loss']:.2g}"])
    return table(["network", "precision", "seed 1", "published", "less FP32's", "best epoch", f"spread of the last {LAST} epochs",
                  "99.9% of training set from epoch", "final training loss"], rows)


def difference_table(groups):
    rows = []
    for model, (name, _, _) in PUBLISHED.items():
        for precision in ("fp16", "mixed"):
            runs, base = groups[model, precision], {run["seed"]: run for run in groups[model, "fp32"]}
            pairs = [(run, base[run["seed"]]) for run in runs if run["seed"] in base]
            by_seed = [100 * (a["test_accuracy"][-1] - b["test_accuracy"][-1]) for a, b in pairs]
            mean, half = statistics.mean(by_seed), half_width(by_seed)
            rows.append([name, f"{PRECISIONS[precision]} − FP32", str(len(by_seed)), ", ".join(map(points, by_seed)),
                         f"**{points(mean)}**", f"{points(mean - half)} to {points(mean + half)}"])
    return table(["network", "difference", "pairs", "by seed", "mean", "95% interval"], rows)


def time_table(groups):
    """Of the runs that had the GPU to themselves: the others' times are null, and those of runs that they replaced count."""
    groups = {key: [run for run in runs + groups.get(("replaced", *key), []) if run["step_ms"] is not None]
              for key, runs in groups.items()}
    rows, ratios = [], []
    for model, (name, _, seconds) in PUBLISHED.items():
        ms = {p: statistics.mean(run["step_ms"] for run in groups[model, p]) for p in PRECISIONS}
        total = {p: statistics.mean(run["seconds"] for run in groups[model, p]) for p in PRECISIONS}
        peak = {p: max(run["peak_device_bytes"] for run in groups[model, p]) / 1e6 for p in PRECISIONS}
        order = ("fp16", "fp32", "mixed")
        ratios.append((ms["fp32"] / ms["fp16"], ms["mixed"] / ms["fp16"], seconds["fp32"] / seconds["fp16"],
                       seconds["mixed"] / seconds["fp16"]))
        rows.append([name, " / ".join(f"{ms[p]:.2f}" for p in order), " / ".join(f"{total[p]:.1f}" for p in order),
                     " / ".join(str(seconds[p]) for p in order), *[f"{x:.2f}" for x in ratios[-1]],
                     " / ".join(f"{peak[p]:.0f}" for p in order)])
    rows.append(["mean", "", "", "", *[f"**{statistics.mean(column):.2f}**" for column in zip(*ratios)], ""])
    return table(["network", "ms a step, FP16 / FP32 / mixed", "seconds for 100 epochs", "published seconds", "FP32 / FP16",
                  "mixed / FP16", "published FP32 / FP16", "published mixed / FP16", "peak MB"], rows)


STYLE = """<style>
text{font:12px system-ui,sans-serif;fill:#55555c} .t{font-size:14px;fill:#16161a} .g{font-weight:600;fill:#16161a}
.e{text-anchor:end} .m{text-anchor:middle} .grid{stroke:#d8d8de;stroke-width:1} .pub{stroke:#55555c;stroke-width:1.5;stroke-dasharray:5 4}
.band{stroke:none;fill-opacity:.2} .line{fill:none;stroke-width:1.6;stroke-linejoin:round}
.f0{fill:#77777f} .f1{fill:#2a6fd6} .f2{fill:#d0661a} .s0{stroke:#77777f} .s1{stroke:#2a6fd6} .s2{stroke:#d0661a}
@media (prefers-color-scheme:dark){text{fill:#b4b4bc} .t,.g{fill:#f0f0f2} .grid{stroke:#3a3a42} .pub{stroke:#b4b4bc}
.f0{fill:#a4a4ac} .f1{fill:#6ea3f2} .f2{fill:#f29a5c} .s0{stroke:#a4a4ac} .s1{stroke:#6ea3f2} .s2{stroke:#f29a5c}}
</style>"""
LOW, HIGH, TICK = 45, 85, 10  # percent
PANEL_WIDTH, PANEL_HEIGHT, LEFT, TOP, GAP_X, GAP_Y = 330, 210, 46, 84, 56, 62


def panel(groups, model, x0, y0):
    name, accuracy, _ = PUBLISHED[model]
    epochs = len(groups[model, "fp32"][0]["test_accuracy"])

    def x(epoch):
        return x0 + PANEL_WIDTH * (epoch - 1) / (epochs - 1)

    def y(percent):
        return y0 + PANEL_HEIGHT * (HIGH - percent) / (HIGH - LOW)

    counts = ", ".join(f"{label} {len(groups[model, p])}" for p, label in PRECISIONS.items())
    out = [f'<text class="g" x="{x0}" y="{y0 - 10}">{name}</text>',
           f'<text class="e" x="{x0 + PANEL_WIDTH}" y="{y0 - 10}">seeds: {counts}</text>']
    for percent in range(LOW + TICK // 2, HIGH, TICK):
        out.append(f'<path class="grid" d="M{x0} {y(percent):.1f}h{PANEL_WIDTH}"/>'
                   f'<text class="e" x="{x0 - 6}" y="{y(percent) + 4:.1f}">{percent}</text>')
    for epoch in (1, 25, 50, 75, 100):
        out.append(f'<text class="m" x="{x(epoch):.1f}" y="{y0 + PANEL_HEIGHT + 16}">{epoch}</text>')
    out.append(f'<path class="pub" d="M{x0} {y(accuracy["fp32"]):.1f}h{PANEL_WIDTH}"/>')
    out.append(f'<clipPath id="{model}"><rect x="{x0}" y="{y0}" width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}"/></clipPath>'
               f'<g clip-path="url(#{model})">')
    for i, precision in enumerate(PRECISIONS):
        by_epoch = list(zip(*([100 * a for a in run["test_accuracy"]] for run in groups[model, precision])))
        upper = [f"{x(e):.1f} {y(max(v)):.1f}" for e, v in enumerate(by_epoch, 1)]
        lower = [f"{x(e):.1f} {y(min(v)):.1f}" for e, v in enumerate(by_epoch, 1)]
        middle = [f"{x(e):.1f} {y(statistics.mean(v)):.1f}" for e, v in enumerate(by_epoch, 1)]
        out.append(f'<path class="band f{i}" d="M{"L".join(upper + lower[::-1])}Z"/>'
                   f'<path class="line s{i}" d="M{"L".join(middle)}"/>')
    return [*out, "</g>"]


def picture(groups):
    width, height = LEFT + 2 * PANEL_WIDTH + GAP_X + 16, TOP + 2 * PANEL_HEIGHT + GAP_Y + 44
    label = "; ".join(f"{name}: " + ", ".join(
        f"{text} {statistics.mean(100 * run['test_accuracy'][-1] for run in groups[model, p]):.2f}"
        for p, text in PRECISIONS.items()) for model, (name, _, _) in PUBLISHED.items())
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
           f'aria-label="Test accuracy over 100 epochs on CIFAR-10; mean of the last epoch in percent. {label}">', STYLE,
           '<text class="t" x="16" y="24">CIFAR-10 test accuracy in percent over epochs: mean of the seeds; bands from the least to the most</text>']
    for i, text in enumerate(PRECISIONS.values()):
        out.append(f'<rect class="f{i}" x="{16 + 90 * i}" y="36" width="12" height="12" rx="2"/><text x="{34 + 90 * i}" y="47">{text}</text>')
    out.append('<path class="pub" d="M286 42h28"/><text x="322" y="47">published, FP32, after 100 epochs</text>')
    for i, model in enumerate(PUBLISHED):
        out += panel(groups, model, LEFT + i % 2 * (PANEL_WIDTH + GAP_X), TOP + i // 2 * (PANEL_HEIGHT + GAP_Y))
    return "\n".join(out + ["</svg>"]) + "\n"


def main():
    study, groups = json.loads((DOCS / "study/cifar10.json").read_text()), {}
    for run in study["runs"]:
        groups.setdefault((run["model"], run["precision"]), []).append(run)
    for run in study["replaced"]:
        groups.setdefault(("replaced", run["model"], run["precision"]), []).append(run)
    text = (DOCS / "study.md").read_text()
    for name, make in (("accuracy", accuracy_table), ("differences", difference_table), ("single", single_table), ("times", time_table)):
        replaced, count = re.subn(rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m: f"{m[1]}\n{make(groups)}\n\n{m[2]}", text, flags=re.S)
        if count != 1:
            sys.exit(f"docs/study.md: {count} places for the table '{name}'; needs one")
        text = replaced
    stale = False
    for path, content in ((DOCS / "study.md", text), (DOCS / "images/study-accuracy.svg", picture(groups))):
        if "--check" not in sys.argv[1:]:
            path.write_text(content)
        elif not path.exists() or path.read_text() != content:
            print(f"{path}: does not follow from docs/study/cifar10.json; run tools/study_plot.py")
            stale = True
    return stale


if __name__ == "__main__":
    sys.exit(main())
