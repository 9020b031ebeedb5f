"""Make the README's pictures of a page: ``python docs/pictures.py runs/demo``.

Needs Playwright and Chromium, as the tests of the page do.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
PARTS = ["#explorer [aria-label='How it is shown']", "#explorer .desk > :first-child", "#said"]
VIEW = "#explore&strength=60&factor=8"


def _shot(page: Page, selector: str) -> Image.Image:
    return Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")


def _settle(page: Page) -> None:
    page.wait_for_function("document.documentElement.dataset.drawn === 'all'")


def main(report: Path) -> None:
    """A picture of the page's opening, and one of the explorer for each ε of its slider."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": 1100, "height": 860})
        page.goto(report.resolve().as_uri())
        _settle(page)
        opening = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        opening.quantize(256).save(HERE / "page.png", optimize=True)
        page = browser.new_page(viewport={"width": 700, "height": 1400})
        page.goto(report.resolve().as_uri() + VIEW)
        _settle(page)
        slider = page.locator("#pick-epsilon")
        frames = []
        for place in range(int(slider.get_attribute("max") or 0) + 1):
            slider.fill(str(place))
            _settle(page)
            page.wait_for_timeout(400)
            parts = [_shot(page, part) for part in PARTS]
            frame = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)), "white")
            for place_of, part in enumerate(parts):
                frame.paste(part, (0, sum(above.height for above in parts[:place_of])))
            frames.append(frame)
        height = max(frame.height for frame in frames)
        canvases = [Image.new("RGB", (frame.width, height), "white") for frame in frames]
        for canvas, frame in zip(canvases, frames, strict=True):
            canvas.paste(frame, (0, 0))
        first, *others = [canvas.quantize(256) for canvas in canvases]
        first.save(
            HERE / "explorer.gif",
            save_all=True,
            append_images=others,
            duration=[1200] * len(others) + [2500],
            loop=0,
            optimize=True,
        )
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "report.html")
