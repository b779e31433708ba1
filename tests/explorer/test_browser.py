"""The explorer in a browser: opens from disk, every control works, hostile text is text."""

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.explorer import pages
from tests.explorer.chromium import all_of, open_page, prefer, resize

pytestmark = pytest.mark.usefixtures("no_complaints")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return pages.image_page(tmp_path_factory.mktemp("page") / "images.html")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return pages.text_page(tmp_path_factory.mktemp("page") / "texts.html")


def texts_of(driver, selector):
    return [element.text for element in all_of(driver, selector)]


def choose(driver, label, text):
    path = f"//section[not(@hidden)]//label[span='{label}']/select"
    Select(driver.find_element(By.XPATH, path)).select_by_visible_text(text)


def press(driver, text):
    driver.find_element(By.XPATH, f"//button[normalize-space()='{text}']").click()


def shown_ids(driver):
    return [int(card.get_attribute("data-place")) for card in all_of(driver, ".card[data-place]")]


def test_the_page_opens_with_the_worst_mistake(driver, images):
    open_page(driver, images)
    assert "Test sample #11" in texts_of(driver, "h2")
    assert len(all_of(driver, ".card")) == 20
    assert "LDS 0.500 [0.400, 0.600] of a ceiling of 0.800" in driver.page_source
    assert all_of(driver, ".removal svg")
    assert any("% of 2 models" in text for text in texts_of(driver, ".evidence p"))
    network = "return performance.getEntriesByType('resource').map((e) => e.name)"
    assert [n for n in driver.execute_script(network) if not n.startswith(("data:", "blob:"))] == []


def test_hostile_names_are_shown_as_text(driver, images, texts):
    for page in (images, texts):
        open_page(driver, page)
        assert pages.HOSTILE.split("\n")[0] in driver.execute_script(
            "return document.body.innerText"
        )
        assert not all_of(driver, "#page img")
        assert driver.title != "owned"


def test_the_list_of_tests_is_searched_ordered_and_filtered(driver, images):
    open_page(driver, images)
    choose(driver, "Order", "by number")
    assert texts_of(driver, ".tests li .about span")[0] == "#0 cat"
    choose(driver, "Label", "dog")
    assert len(all_of(driver, ".tests li")) == 4
    choose(driver, "Label", "all")
    all_of(driver, ".check input")[0].click()
    assert "8 of 12 test samples" in texts_of(driver, ".picker p")
    search = all_of(driver, "input[type=search]")[0]
    search.send_keys("#10")
    assert len(all_of(driver, ".tests li")) == 1
    assert "Test sample #10" in texts_of(driver, "h2")


def test_keys_move_through_the_tests(driver, images):
    open_page(driver, images, "order=number")
    body = driver.find_element(By.TAG_NAME, "body")
    body.send_keys("j")
    assert "Test sample #1" in texts_of(driver, "h2")
    box = all_of(driver, "[role=listbox]")[0]
    box.send_keys(Keys.END)
    assert box.get_attribute("aria-activedescendant") == "test-11"
    box.send_keys(Keys.ARROW_UP)
    assert "Test sample #10" in texts_of(driver, "h2")
    body.send_keys("d")
    assert "mode=top" in driver.current_url
    body.send_keys("/")
    assert driver.switch_to.active_element.get_attribute("type") == "search"


def test_lists_are_diverse_or_the_strongest_ones(driver, images):
    open_page(driver, images, "test=0&order=number")
    place = driver.execute_script(
        "return [...document.querySelectorAll('.card .soft.number')].map(e => e.innerText)"
    )
    assert not {"#3", "#7"} <= set(place[:5])
    press(driver, "Strongest")
    place = driver.execute_script(
        "return [...document.querySelectorAll('.card .soft.number')].map(e => e.innerText)"
    )
    assert place[:2] == ["#3", "#7"]
    all_of(driver, ".card button")[0].click()
    assert "#7" in texts_of(driver, ".alike figcaption")[0]
    choose(driver, "Samples", "5")
    assert len(all_of(driver, ".card")) == 10


def test_two_methods_stand_side_by_side(driver, images):
    open_page(driver, images)
    choose(driver, "Compare with", pages.HOSTILE)
    assert len(all_of(driver, ".column")) == 2
    assert "Both methods show the same" in texts_of(driver, ".shared")[0]
    assert "margin estimated higher because of each" in texts_of(driver, ".column .soft")
    choose(driver, "Method", pages.HOSTILE)
    assert len(all_of(driver, ".column")) == 1
    assert driver.switch_to.active_element.tag_name == "select"


def test_suspects_have_a_filter_and_their_precision(driver, images):
    open_page(driver, images)
    press(driver, "Suspicious labels")
    assert (
        "20 of the first 40 have a wrong label (50 %); 20 are wrong in all." in driver.page_source
    )
    assert "precision so far 100 %" in all_of(driver, "#panel-suspects .card")[0].text
    choose(driver, "Label", "cat")
    assert len(all_of(driver, "#panel-suspects .card")) == 14


def test_groups_lead_to_their_tests(driver, images):
    open_page(driver, images, "tab=groups")
    assert len(all_of(driver, ".heat tbody tr")) == 3
    choose(driver, "Colours", "of each row")
    press(driver, "dog")
    assert len(all_of(driver, ".tests li")) == 4


def test_tabs_and_the_help_work_by_keys(driver, images):
    open_page(driver, images)
    all_of(driver, "[role=tab]")[0].send_keys(Keys.ARROW_RIGHT)
    assert driver.switch_to.active_element.text == "Suspicious labels"
    press(driver, "How to read this")
    assert (
        "lower" in all_of(driver, "dialog[open]")[0].text
        or "negative" in all_of(driver, "dialog[open]")[0].text.lower()
    )
    press(driver, "Close")
    assert not all_of(driver, "dialog[open]")


def test_both_themes_and_a_phone(driver, images):
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    open_page(driver, images)
    light = driver.execute_script(ground)
    prefer(driver, "dark")
    dark = driver.execute_script(ground)
    assert light != dark
    press(driver, "Theme: system")
    assert driver.execute_script(ground) == light
    press(driver, "Theme: light")
    prefer(driver, "light")
    assert driver.execute_script(ground) == dark
    press(driver, "Theme: dark")
    for tab in ("explain", "suspects", "groups"):
        resize(driver, 360, 700)
        open_page(driver, images, f"tab={tab}&versus=1")
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 360


def test_texts_are_linked_both_ways(driver, texts):
    open_page(driver, texts)
    test_text = all_of(driver, ".subject .text")[0]
    test_text.send_keys(Keys.ARROW_RIGHT)
    assert "most by training sample #" in texts_of(driver, "[role=status]")[0]
    faded = driver.execute_script(
        "return [...document.querySelectorAll('.card')].map(c => c.style.opacity)"
    )
    assert "1" in faded and len(set(faded)) > 2
    card = all_of(driver, ".card")[0]
    driver.execute_script("arguments[0].focus()", card)
    assert "Tinted: the tokens that training sample" in texts_of(driver, "[role=status]")[0]
    tinted = driver.execute_script(
        "return [...document.querySelectorAll('.subject .token')].filter(t => t.style.background).length"
    )
    assert tinted > 0


def test_music_plays_and_stops(driver, tmp_path):
    open_page(driver, pages.music_page(tmp_path / "music.html"))
    assert len(all_of(driver, ".subject .note")) == 4
    play = all_of(driver, ".subject button")[0]
    play.click()
    assert play.text == "■ Stop"
    play.click()
    assert play.text == "▶ Play"
