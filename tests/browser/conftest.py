"""A real browser, and pages for it to open: the demo's, and a larger one with hostile names."""

import base64
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lookaway as la
from browser_pages import EPSILONS, HOSTILE, OPEN_ALL, PICTURED
from lookaway.report.page import build_report

ROOT = Path(__file__).parents[2]
# The flags that keep Chromium from looking for its makers' servers.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def _without(reason):
    """Leave the test out, or fail where nothing may be missing."""
    if os.environ.get("LOOKAWAY_NOTHING_MISSING"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium():
    """Debian's Chromium, driven by Playwright."""
    try:
        from playwright import sync_api
    except ImportError:
        _without("Playwright is not installed; it comes with lookaway[test]")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        _without("no Chromium is installed; `make browser` installs Debian's")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe():
    """The source of axe-core, which finds what is not accessible."""
    path = ROOT / ".venv" / "node_modules" / "axe-core" / "axe.min.js"
    path = Path(os.environ.get("LOOKAWAY_AXE", path))
    if not path.is_file():
        _without("axe-core is not installed; `make browser` installs it")
    return path.read_text()


@dataclass
class Opened:
    """A page in the browser, with all that it said and asked for."""

    page: object
    complaints: list = field(default_factory=list)
    requests: list = field(default_factory=list)

    def __getattr__(self, name):
        return getattr(self.page, name)

    def settle(self):
        """Wait until the explorer has drawn what was chosen last."""
        self.page.wait_for_selector("html[data-ready]", state="attached")
        self.page.wait_for_function("document.documentElement.dataset.drawn === 'all'")

    def text(self, selector):
        return self.page.locator(selector).inner_text()

    def pixels(self, canvas):
        """(H, W, 3) of a canvas."""
        found = self.page.evaluate(
            """id => {
                const canvas = document.getElementById(id);
                const { width, height } = canvas;
                const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
                const bytes = Array.from(data, (one) => String.fromCharCode(one));
                return [height, width, btoa(bytes.join(""))];
            }""",
            canvas,
        )
        values = np.frombuffer(base64.b64decode(found[2]), dtype=np.uint8)
        return values.reshape(found[0], found[1], 4)[..., :3].astype(int)

    def follow(self, link):
        """Go to a link within the page."""
        self.page.evaluate(
            """link => new Promise((done) => {
                history.replaceState(null, "", "#");  // the same link again is no change
                addEventListener("hashchange", () => done(), { once: true });
                location.hash = link;
            })""",
            link,
        )
        self.settle()

    def restore(self, run):
        """Choose what a page shows when it opens."""
        frames, model = run.frames, run.frames.models[0]
        first = {
            "model": model,
            "layer": run.plan.last_layers[model],
            "class": frames.policy,
            "attack": frames.attacks[0],
            "source": model,
            "epsilon": frames.top,
            "strength": 55,
            "factor": 5,
            "style": "overlay",
            "colours": "turbo",
            "sort": "study",
            "show": "all",
        }
        link = self.page.evaluate(
            """first => {
                const { images } = JSON.parse(document.getElementById("explorer-data").textContent);
                return "#explore&" + new URLSearchParams({ ...first, image: images[0].name });
            }""",
            first,
        )
        self.follow(link)
        self.page.evaluate("scrollTo(0, 0)")

    def charts(self):
        """Go past every chart that can be seen, until each is drawn."""
        places = self.page.locator("[data-chart]")
        for place in range(places.count()):
            if places.nth(place).is_visible():
                places.nth(place).scroll_into_view_if_needed()
                name = places.nth(place).get_attribute("data-chart")
                self.page.wait_for_selector(f"[data-chart='{name}'][data-drawn=done]")


@contextmanager
def _opening(chromium):
    """A function that opens a page; all are closed at the end."""
    contexts = []

    def open_(path, link="", *, width=1280, height=900, script="", **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(200_000)  # a limit for what never comes
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.add_init_script(script)
        opened.page.on(
            "console",
            lambda message: (
                opened.complaints.append(message.text)
                if message.type in ("error", "warning")
                and "Multiple readback" not in message.text  # what tests do to see pixels
                else None
            ),
        )
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.on(
            "dialog", lambda dialog: (opened.complaints.append("a dialog"), dialog.dismiss())
        )
        opened.page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("data:", "blob:")) or request.is_navigation_request()
                else opened.requests.append(request.url)
            ),
        )
        opened.page.goto(Path(path).as_uri() + link)
        opened.settle()
        return opened

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture
def open_page(chromium):
    """Open a page: ``open_page(path, "#…", width=…, script=…)``."""
    with _opening(chromium) as open_:
        yield open_


@pytest.fixture(scope="session")
def pages(chromium):
    """Pages that tests share, by name, and the function that opens others."""
    with _opening(chromium) as open_:
        yield {}, open_


@pytest.fixture
def shared(pages):
    """A run's page as it is when it opens: ``shared(run)``; tests that choose and read share it."""
    kept, open_ = pages
    used = []

    def show(run):
        if run.folder not in kept:
            kept[run.folder] = open_(run.report)
        page = kept[run.folder]
        used.append(page)
        page.restore(run)
        return page

    yield show
    for page in used:
        assert page.complaints == []
        assert page.requests == []


@pytest.fixture
def phone(pages):
    """A run's page on a phone in the dark, where scripts of a test may run: ``phone(run)``."""
    kept, open_ = pages

    def show(run):
        if ("phone", run.folder) not in kept:
            small = {"width": 390, "height": 844, "has_touch": True, "is_mobile": True}
            page = open_(run.report, **small, color_scheme="dark", bypass_csp=True)
            page.evaluate(OPEN_ALL)
            page.locator("#layers").scroll_into_view_if_needed()
            page.charts()
            kept["phone", run.folder] = page
        return kept["phone", run.folder]

    return show


def _draw(root, side, count):
    """Five classes with hostile names, of pictures that compress as badly as photographs."""
    random = np.random.default_rng(0)
    down, right = np.mgrid[0:side, 0:side] / side
    for place, name in enumerate(HOSTILE.values()):
        folder = root / name.replace("/", "∕")[:80]
        folder.mkdir(parents=True)
        for index in range(count):
            waves = np.sin(6 * (down * (1 + place) + right * random.uniform(0.5, 2)))[..., None]
            pixels = 128 + 70 * waves + random.normal(0, 12, (side, side, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{index} <b>.png")
    return root


def _run(folder, side, grid, pictured, *, networks, count):
    """Models of several layers at 4 ε, every name hostile."""
    spec = {"pretrained": False, "train": "none", "input_size": 64}
    study = {
        "data": {
            "folder": str(_draw(folder / "images", side, count)),
            "image_size": side,
            "split": {"train": 0.4, "val": 0.1, "test": 0.5, "seed": 0},
        },
        "models": [{"name": name, "timm": timm, **spec} for name, timm in networks.items()],
        "transfer_from": [HOSTILE["script"]],
        "epsilons": EPSILONS,
        "explain": {"layers": "stages", "layers_of": "pictured", "pictured": pictured},
        "measure": {"grid": grid},
    }
    return la.run_study(study, folder / "run", progress=False)


@pytest.fixture(scope="session")
def hostile_run(tmp_path_factory):
    """Of few small pictures and small networks."""
    names, timms = (
        ("script", "long", "right to left"),
        ["test_resnet", "test_efficientnet", "test_resnet"],
    )
    networks = dict(zip((HOSTILE[name] for name in names), timms, strict=True))
    folder = tmp_path_factory.mktemp("hostile")
    return _run(folder, 64, 32, PICTURED, networks=networks, count=6)


@pytest.fixture(scope="session")
def large_run(tmp_path_factory):
    """Of pictures as a study has them: a page as large as it may be."""
    timms = ["test_resnet", "test_efficientnet", "test_byobnet", "test_resnet", "test_convnext"]
    networks = dict(zip(HOSTILE.values(), timms, strict=True))
    return _run(tmp_path_factory.mktemp("large"), 224, 56, 24, networks=networks, count=12)


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    """The demo, where it was run, with its page made again."""
    folder = Path(os.environ.get("LOOKAWAY_DEMO", ROOT / "runs" / "demo"))
    if not (folder / "manifest.json").is_file():
        _without(f"no finished demo in {folder}; `make demo` makes it")
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("demo") / "run")
    result = la.open_result(copy)
    build_report(result.store)
    return la.open_result(copy)
