"""Draws docs/demo.png: the picture that `fastlr demo` writes, in fewer colours.

Run: python docs/demo_picture.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from fastlr.demo import demo

DOCS = Path(__file__).resolve().parent
COLOURS = 256


def main(picture: Path = DOCS / "demo.png") -> None:
    with TemporaryDirectory() as folder:
        demo(Path(folder))
        with Image.open(Path(folder) / "demo.png") as image:
            image.convert("RGB").quantize(COLOURS).save(picture, optimize=True)


if __name__ == "__main__":
    main()
