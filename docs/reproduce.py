"""Keep a run's tables and small pictures: ``python docs/reproduce.py runs/RUN OUT``.

Pictures are as wide as two columns of a paper: charts as PNG, what shows images as JPEG.
"""

import io
import shutil
import sys
from pathlib import Path

from claims import main as claims
from PIL import Image

import lookaway as la

KINDS = ("paper_", "accuracy_against_mod", "training")
WIDEST = 1100  # px


def small(png: bytes) -> Image.Image:
    """A picture for a page of text."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if image.width > WIDEST:
        image = image.resize((WIDEST, round(image.height * WIDEST / image.width)))
    return image


def index(out: Path) -> str:
    """A page of links to what is kept."""
    tables = [f"- [{path.stem}]({path.name})" for path in sorted(out.glob("*.md"))]
    kept = [path for path in sorted(out.iterdir()) if path.suffix in (".png", ".jpg")]
    pictures = [f"- [{path.stem}]({path.name})" for path in kept]
    tables.remove("- [claims](claims.md)")
    first = "[What the run says to the paper's claims](claims.md)"
    parts = [f"# {out.name}", first, "## Tables", "\n".join(tables), "## Pictures"]
    return "\n\n".join([*parts, "\n".join(pictures)]) + "\n"


def main(run: Path, out: Path) -> None:
    """Write tables, pictures and what the run says to the paper's claims."""
    result = la.open_result(run)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for table in sorted((run / "tables").glob("*.md")):
        shutil.copy(table, out / table.name)
        shutil.copy(table.with_suffix(".csv"), out / f"{table.stem}.csv")
    for name in result.figures():
        if name.startswith(KINDS):
            figure = result.figure(name)
            image = small(figure.png())
            if figure.spec is not None:
                image.quantize(256).save(out / f"{name}.png", optimize=True)
            else:
                image.save(out / f"{name}.jpg", quality=85, subsampling=0, optimize=True)
    (out / "claims.md").write_text(f"# What the run says to the paper's claims\n\n{claims(run)}")
    (out / "README.md").write_text(index(out))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
