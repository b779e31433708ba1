"""A browser without a window, for pages on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync",
    "disable-background-networking", "disable-component-update", "disable-dev-shm-usage",
    "autoplay-policy=no-user-gesture-required",
)  # fmt: skip
PATIENCE = 60


@contextmanager
def browser() -> Iterator[Chrome]:
    """Start Chromium in a profile of its own; the test fails where there is none."""
    if not (CHROMIUM.exists() and DRIVER.exists()):
        pytest.fail("tests of pages need Chromium: apt-get install chromium chromium-driver")
    with TemporaryDirectory(prefix="headwater-chromium-", ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS, f"user-data-dir={profile}"):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = Chrome(options=options, service=Service(str(DRIVER)))
        try:
            yield driver
        finally:
            driver.quit()


def open_page(driver: Chrome, path: Path, fragment: str = "") -> None:
    """Load a page from disk, and wait until it is filled."""
    driver.get("about:blank")
    driver.get(f"{path.resolve().as_uri()}#{fragment}")
    filled = "const page = document.getElementById('page'); return page && !page.ariaBusy"
    WebDriverWait(driver, PATIENCE).until(lambda d: d.execute_script(filled))


def resize(driver: Chrome, width: int, height: int) -> None:
    """Give the page a size in pixels, as small as that of a phone."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def prefer(driver: Chrome, scheme: str) -> None:
    """Let the system prefer light or dark."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def console_errors(driver: Chrome) -> list[str]:
    """Return what the page complained of since the last call."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def all_of(driver, selector):
    """The elements that a CSS selector finds."""
    return driver.find_elements(By.CSS_SELECTOR, selector)


@pytest.fixture(scope="module")
def driver():
    """One browser for the tests of a file."""
    with browser() as found:
        yield found


@pytest.fixture
def no_complaints(driver):
    """A window of the usual size, in light, whose console stays empty."""
    resize(driver, 1280, 900)
    prefer(driver, "light")
    console_errors(driver)
    yield
    assert console_errors(driver) == []
