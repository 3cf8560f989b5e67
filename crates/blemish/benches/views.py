"""Many images from few, to measure a fit to thousands: views of the images of a folder, a little darker, brighter or
shifted. No two are the same.

    pip install numpy==2.2.6 pillow==13.0.0
    python3 crates/blemish/benches/views.py mvtec_ad/bottle/train/good SCRATCH/many 5000
    /usr/bin/time -v blemish fit SCRATCH/many -o SCRATCH/many.blemish --method memory-bank --memory 4G

Files are JPEG of quality 95 and of the originals' sizes (of bottle some 150 kB each).
"""

import concurrent.futures
import pathlib
import sys

import numpy
from PIL import Image


def view(image, number):
    """The number-th of six flips and quarter turns, the image itself first."""
    turned = numpy.rot90(image, [0, 0, 0, 1, 2, 3][number])
    return {1: turned[:, ::-1], 2: turned[::-1]}.get(number, turned)


def write(job):
    source, targets = job
    original = numpy.asarray(Image.open(source).convert("RGB"))
    for number, target in enumerate(targets):
        image = view(original, number % 6)
        change = number // 6
        if change:
            # Shifted along both sides, edges repeated, and some levels brighter or darker.
            image = numpy.pad(image, ((0, 2 * change), (0, change), (0, 0)), "edge")[2 * change :, change:]
            light = 2 * change if change % 2 else -2 * change
            image = numpy.clip(image.astype(numpy.int16) + light, 0, 255).astype(numpy.uint8)
        Image.fromarray(numpy.ascontiguousarray(image)).save(target, quality=95)


def main():
    folder, out, count = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    files = sorted(folder.glob("*.png"))
    out.mkdir(parents=True, exist_ok=True)
    targets = [out / f"{i:05}.jpg" for i in range(count)]
    jobs = [(file, targets[i :: len(files)]) for i, file in enumerate(files)]
    with concurrent.futures.ProcessPoolExecutor() as pool:
        for _ in pool.map(write, jobs):
            pass
    print(f"wrote {count} images to {out}")


if __name__ == "__main__":
    main()
