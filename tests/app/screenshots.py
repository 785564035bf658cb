"""Pictures of the explorer's pages at worked examples, for the README and the docs: ``make screenshots``.

``python -m tests.app.screenshots heads features`` makes some of them. Light theme, 1300 pixels wide, at most 256
colours, each below `LARGEST`. Look at them before they are committed.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path

from benchmarks.browser import ARGUMENTS, PATIENCE, Explorer, chromium_path, settled, visit

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "explorer"
WIDTH, HEIGHT = 1300, 1000
LARGEST = 250_000
"""Bytes of a picture."""

EXAMPLES: dict[str, dict[str, str | int]] = {
    "attention": {"model": "zoo:attention", "other": "zoo:mamba"},
    "state": {"model": "zoo:gated_delta"},
    "features": {"model": "zoo:mamba"},
}
"""What the controls of a page are set to; a page that is not named shows what it opens on."""

PRESSED: dict[str, tuple[tuple[str, str], ...]] = {
    "features": (("Build its features", "Activations"),),
    "studies": (("Put an example into studies/", "is in the workspace now"), ("Start", "What was found")),
}
"""The buttons of a page without which there is nothing to see, each with the words that appear in the end."""


def compressed(png: bytes) -> bytes:
    """The picture in the colours it has, or in 256 where it has more; of two ways to write it the smaller one."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    written = []
    for form in (picture, picture.quantize(256, dither=Image.Dither.NONE)):
        buffer = io.BytesIO()
        form.save(buffer, "PNG", optimize=True)
        written.append(buffer.getvalue())
    return min(written, key=len)


def main() -> int:
    """Make the pictures that are asked for; 1 where one of them is too large, or its page shows an error."""
    from playwright.sync_api import sync_playwright

    from workbench.app.navigation import ENTRIES

    names = [entry.name for entry in ENTRIES]
    parser = argparse.ArgumentParser(description="Pictures of the explorer's pages.")
    parser.add_argument("pages", nargs="*", help=f"which; all of them by default: {', '.join(names)}")
    parser.add_argument("--out", type=Path, default=FOLDER)
    asked = parser.parse_args()
    if unknown := set(asked.pages) - set(names):
        parser.error(f"there is no page {', '.join(sorted(unknown))}; there is: {', '.join(names)}")
    if (executable := chromium_path()) is None:
        parser.error("there is no Chromium here; make chromium installs it where it may")
    asked.out.mkdir(parents=True, exist_ok=True)
    too_large, errors = [], list[str]()
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        explorer = Explorer(Path(scratch)).start()
        try:
            browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
            for name in asked.pages or names:
                page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
                visit(page, explorer.address(name, **EXAMPLES.get(name, {})), calm=1.0)
                for button, words in PRESSED.get(name, ()):
                    page.get_by_test_id("stMain").get_by_role("button", name=button).click()
                    page.get_by_text(words).first.wait_for(timeout=1000 * PATIENCE)
                    settled(page, calm=1.0)
                errors += [f"{name}: {one}" for one in page.get_by_test_id("stAlertContentError").all_inner_texts()]
                picture = compressed(page.screenshot())
                (asked.out / f"{name}.png").write_bytes(picture)
                print(f"{asked.out / name}.png: {len(picture):,} bytes", flush=True)
                if len(picture) > LARGEST:
                    too_large.append(name)
                page.close()
            browser.close()
        finally:
            explorer.stop()
    if too_large:
        print(f"More than {LARGEST:,} bytes: {', '.join(too_large)}.", file=sys.stderr)
    for error in errors:
        print(f"An error is in the picture of {error}", file=sys.stderr)
    return 1 if too_large or errors else 0


if __name__ == "__main__":
    sys.exit(main())
