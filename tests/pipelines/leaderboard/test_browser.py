"""The leaderboard page in a browser: opens from disk, sorts, draws, and shows hostile names as text."""

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from selenium.webdriver.support.wait import WebDriverWait

from pipelines.leaderboard.page import leaderboard_page
from tests.explorer.chromium import all_of, open_page, prefer, resize
from tests.pipelines.leaderboard.workspaces import HOSTILE, make_workspace

pytestmark = pytest.mark.usefixtures("no_complaints")
TABS = ("overview", "setting", "cost", "damping", "resources")
TIP = "#vg-tooltip-element.visible"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = make_workspace(tmp_path_factory.mktemp("results"))
    path = root / "page.html"
    path.write_text(leaderboard_page(root))
    assert path.stat().st_size < 6e6
    return path


def names(driver, tab):
    return [e.text for e in all_of(driver, f"#panel-{tab} .board:first-of-type tbody th .link")]


def head(driver, tab, title):
    path = f"//section[@id='panel-{tab}']//th[starts-with(normalize-space(), '{title}')]"
    return driver.find_element(By.XPATH, path)


def marks(driver, tab):
    found = f"#panel-{tab} svg .mark-symbol path"
    WebDriverWait(driver, 60).until(lambda d: all_of(d, found))
    return all_of(driver, found)


def test_all_settings_are_shown_and_nothing_is_loaded(driver, page):
    open_page(driver, page)
    assert [e.text for e in all_of(driver, ".settings .link")] == ["one", "two"]
    assert names(driver, "overview") == ["fisher", HOSTILE, "grad-dot", "random", "too-large"]
    row = all_of(driver, ".board tbody tr")[0].text
    assert "75 %" in row and row.count("0.600 [0.550, 0.650]") == 2
    assert "infeasible" in all_of(driver, ".board tbody tr")[-1].text
    network = "return performance.getEntriesByType('resource').map((e) => e.name)"
    assert [n for n in driver.execute_script(network) if not n.startswith(("data:", "blob:"))] == []
    all_of(driver, ".settings .link")[1].click()
    assert "setting=two" in driver.current_url and len(names(driver, "setting")) == 5


def test_columns_are_sorted_by_mouse_and_by_keys(driver, page):
    open_page(driver, page, "tab=setting")
    lds = head(driver, "setting", "LDS")
    assert lds.get_attribute("aria-sort") == "descending"
    assert names(driver, "setting")[0] == "fisher"
    lds.find_element(By.TAG_NAME, "button").click()
    assert lds.get_attribute("aria-sort") == "ascending"
    assert names(driver, "setting") == ["random", "grad-dot", HOSTILE, "fisher", "too-large"]
    seconds = head(driver, "setting", "seconds").find_element(By.TAG_NAME, "button")
    driver.execute_script("arguments[0].focus()", seconds)
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert head(driver, "setting", "seconds").get_attribute("aria-sort") == "ascending"
    assert lds.get_attribute("aria-sort") == "none"
    assert names(driver, "setting") == ["random", "grad-dot", "fisher", HOSTILE, "too-large"]
    driver.switch_to.active_element.send_keys(Keys.SPACE)
    assert names(driver, "setting")[0] == HOSTILE and names(driver, "setting")[-1] == "too-large"


def test_methods_are_searched_and_filtered(driver, page):
    open_page(driver, page, "tab=setting")
    search = all_of(driver, "#panel-setting input[type=search]")[0]
    search.send_keys("GRAD")
    assert names(driver, "setting") == ["grad-dot"]
    search.send_keys(Keys.BACKSPACE * len("GRAD"))
    family = driver.find_element(By.XPATH, "//label[span='Family']/select")
    Select(family).select_by_visible_text("Fisher")
    assert names(driver, "setting") == ["fisher", "too-large"]
    Select(family).select_by_visible_text("all")
    all_of(driver, "#panel-setting input[type=checkbox]")[0].click()
    assert names(driver, "setting") == ["fisher", "grad-dot", "random"]


def test_a_name_opens_its_card(driver, page):
    open_page(driver, page)
    link = all_of(driver, ".board tbody .link")[0]
    link.send_keys(Keys.ENTER)
    card = all_of(driver, "dialog[open]")[0]
    assert all_of(driver, "dialog .formula")[0].text.startswith("scores[i, j] =")
    for text in ("Koh and Liang", "EmpiricalFisher", "Woodbury", "use it", "multiple:", "0.600"):
        assert text in card.text
    driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not all_of(driver, "dialog[open]")
    assert driver.switch_to.active_element == link


def test_marks_have_tips_and_open_cards(driver, page):
    open_page(driver, page, "tab=cost")
    found = marks(driver, "cost")
    assert len(found) == 4
    for mark in found:
        ActionChains(driver).move_to_element(mark).perform()
        WebDriverWait(driver, 60).until(lambda d: all_of(d, TIP))
        assert "LDS" in all_of(driver, TIP)[0].text
        ActionChains(driver).click(mark).perform()
        assert all_of(driver, "dialog[open] h2")
        driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    ActionChains(driver).move_to_element(all_of(driver, "h1")[0]).perform()
    open_page(driver, page, "tab=damping")
    assert len(marks(driver, "damping")) == 3


def test_hostile_names_are_shown_as_text(driver, page):
    for tab in TABS:
        open_page(driver, page, f"tab={tab}")
        if tab in ("cost", "damping"):
            marks(driver, tab)
        assert not all_of(driver, "img")
    assert HOSTILE in names(driver, "resources")
    link = next(e for e in all_of(driver, "#panel-resources .link") if e.text == HOSTILE)
    link.click()
    assert all_of(driver, "dialog[open] h2")[0].text == HOSTILE
    assert driver.title != "owned"


def test_both_themes_colour_page_and_charts(driver, page):
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    open_page(driver, page, "tab=cost")

    def colours():
        return {mark.get_attribute("fill") for mark in marks(driver, "cost")}

    light, in_light = driver.execute_script(ground), colours()
    prefer(driver, "dark")
    assert driver.execute_script(ground) != light
    WebDriverWait(driver, 60).until(lambda d: colours() != in_light)
    in_dark = colours()
    driver.find_element(By.XPATH, "//button[.='Theme: system']").click()
    WebDriverWait(driver, 60).until(lambda d: colours() == in_light)
    assert driver.execute_script(ground) == light and in_dark != in_light


@pytest.mark.parametrize("tab", TABS)
def test_a_phone_shows_every_view(driver, page, tab):
    resize(driver, 360, 700)
    open_page(driver, page, f"tab={tab}")
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 360
    if tab in ("cost", "damping"):
        assert marks(driver, tab)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 360
