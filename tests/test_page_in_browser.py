"""The page of a dataset in a real browser: from disk and from a web server, on a phone and on a desk."""

import re
import shutil
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import skyshards
from skyshards.format import catalog
from skyshards.page import contents, sky
from skyshards.page.write import write_page
from skyshards.pictures.overlay import COLOURS
from skyshards.pipeline.build import build
from tests.toy import Toy

pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"),
]

ROWS = 90
WIDTHS = {"phone": 400, "desk": 1400}
EVIL = "</script><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown") / "toy"
    build(Toy(ROWS), folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def table(toy):
    return skyshards.open(toy)


@pytest.fixture(scope="module")
def page(toy, tmp_path_factory):
    return write_page(toy, tmp_path_factory.mktemp("page") / "page").index


class Browser:
    """Chromium, and what tests do with a page in it."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, address, width=WIDTHS["desk"], height=1000):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get("about:blank")  # so that an address that differs in its # alone is loaded again
        self.driver.get(address if isinstance(address, str) else address.as_uri())
        return self

    def prefer(self, scheme="light"):
        """Choose light or dark; nothing moves by itself, so that clicks meet what they are meant for."""
        preferences = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in preferences.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        return self

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.one(selector).get_attribute("textContent")

    def wait(self, condition):
        return WebDriverWait(self.driver, 20).until(lambda _: condition())

    def click(self, selector):
        self.run(
            "document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})", selector
        )
        self.one(selector).click()

    def press(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    def focused(self):
        return self.driver.switch_to.active_element

    def choose(self, selector, word):
        Select(self.one(selector)).select_by_visible_text(word)

    def add_filter(self, name):
        """Add the filter of a field; returns its inputs."""
        self.choose("#filter", name)
        self.click("#add")
        return self.all("#filters li:last-child input")

    def rows(self):
        """The rows of all cards, once all are shown."""
        while self.one("#more").is_displayed():
            self.click("#more")
        return [int(card.get_attribute("data-row")) for card in self.all(".card")]

    def errors(self):
        return [entry for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


@pytest.fixture(scope="module")
def chromium():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield Browser(driver).prefer()
    driver.quit()


@pytest.fixture
def browser(chromium):
    """A browser in whose console nothing is wrong after the test."""
    chromium.errors()
    yield chromium
    assert chromium.errors() == []


@pytest.fixture(params=WIDTHS)
def shown(request, browser, page):
    """The page from disk, on a phone and on a desk."""
    return browser.open(page, WIDTHS[request.param])


@pytest.fixture
def desk(browser, page):
    return browser.open(page)


# Opening


def test_fits_the_screen(shown):
    assert shown.run("return document.documentElement.scrollWidth <= innerWidth")
    assert shown.text("h1") == "Toy" and len(shown.all("main section h2")) == 6


def test_all_pictures_are_there_and_described(shown, table):
    shown.run("for (const image of document.images) image.loading = 'eager'")
    for selector in (".card img", "#sky image"):
        assert shown.all(selector)
    shown.wait(lambda: shown.run("return [...document.images].every((image) => image.naturalWidth > 0)"))
    assert all(image.get_attribute("alt") for image in shown.all("img"))


def test_a_web_server_works_as_well(browser, page, table):
    """And the page asks for nothing but its own files."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _quiet(page.parent)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}/"
        browser.open(root)
        assert len(browser.rows()) == ROWS
        asked = browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert {address for address in asked if not address.startswith("data:")}
        assert all(address.startswith((root, "data:")) for address in asked)
        server.shutdown()


def _quiet(folder):
    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=folder)

        def log_message(self, *_):
            pass

    return Handler


def test_text_of_a_dataset_is_never_html(toy, browser, tmp_path):
    folder = tmp_path / "evil"
    shutil.copytree(toy, folder)
    rows, manifest = catalog.open_folder(folder)
    columns = [replace(spec, description=EVIL, unit=EVIL) for spec in manifest.columns]
    columns = [replace(spec, classes=(EVIL, "spiral")) if spec.classes else spec for spec in columns]
    catalog.write(folder, replace(manifest, columns=tuple(columns)), rows)
    browser.open(write_page(folder, tmp_path / "page").index)
    browser.choose("#sort", "label")
    browser.add_filter("label")[0].click()
    browser.click(".card")
    assert browser.driver.title == "Toy"
    assert EVIL in browser.text("#columns-table") and EVIL in browser.text("#counts")
    assert EVIL in browser.text("dialog") and EVIL in browser.text("#filters")
    assert browser.run("return document.querySelectorAll('script').length") == 2


def test_a_sample_says_that_it_is_one(toy, browser, tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "MAX_ROWS", 10)
    browser.open(write_page(toy, tmp_path / "page").index)
    assert browser.text("#sample").startswith("A sample of 10 of 90 rows, evenly spaced")
    assert len(browser.all(".card")) == 10 and browser.text("#facts dd") == "90"


def test_simulated_data_say_so(browser, page, tmp_path):
    assert not browser.open(page).one("#simulated").is_displayed()
    browser.open(write_page("tests/format_0/gz3d", tmp_path / "page").index)
    simulated = skyshards.open("tests/format_0/gz3d").simulated
    assert browser.one("#simulated").is_displayed() == simulated


# Sorting and filtering


def test_sorts_by_a_number_with_missing_values_last(shown, table):
    flux = table.catalog["flux"].to_numpy()
    shown.choose("#sort", "flux")
    assert shown.rows() == np.argsort(flux, kind="stable").tolist()
    shown.click("#direction")
    assert shown.text("#direction") == "Descending"
    downwards = shown.rows()
    values = flux[downwards]
    there = values[~np.isnan(values)]
    assert np.all(np.diff(there) <= 0) and np.isnan(values[len(there) :]).all() and len(values) == ROWS


def test_sorts_by_an_element_and_by_text(desk, table):
    desk.choose("#sort", "votes.fraction[1]")
    fractions = np.stack(table.catalog["votes.fraction"].to_pylist())[:, 1]
    assert desk.rows() == np.argsort(fractions, kind="stable").tolist()
    desk.choose("#sort", "votes.names[1]")  # "arm 2" before "arm 10"
    assert desk.rows() == table_order(table, lambda row: int(row["votes"]["names"][1].removeprefix("arm ")))


def table_order(table, key):
    keys = [key(row) for row in table.select_columns(["votes.names"])]
    return sorted(range(len(keys)), key=keys.__getitem__)


def test_large_integers_are_exact(desk):
    """Those of SDSS have 19 digits, of which a number in JavaScript has 16."""
    large = "[numberOf('1237648720693755918'), numberOf('1237648720693755919'), numberOf('-5'), numberOf(0.5)]"
    assert desk.run(f"const [a, b, c, d] = {large}; return [a < b, a > b, b > d, c < d]") == [True, False, True, True]
    least = desk.add_filter("count")[0]
    least.send_keys("-1237648720693755919")
    assert "count >= -1237648720693755919" in desk.text("#selection code") and len(desk.rows()) == ROWS


def test_filters_by_a_range(shown, table):
    least, most = shown.add_filter("flux")
    least.send_keys("-0.5")
    most.send_keys("0.5")
    flux = table.catalog["flux"].to_numpy()
    wanted = np.flatnonzero((flux >= -0.5) & (flux <= 0.5)).tolist()
    assert 0 < len(wanted) < ROWS and shown.rows() == wanted
    assert shown.text("#status") == f"{len(wanted)} of {ROWS} rows match."
    shown.click("#filters button")
    assert len(shown.rows()) == ROWS and not shown.all("#filters li")


CONDITIONS = {
    "count": ("-100",),
    "votes.fraction[0]": ("0.25",),
    "barred": (0,),
    "label": (1,),
    "ra": ("1e2",),
}
"""The fields of a filter, and what is typed as the least value, or which boxes are ticked."""


@pytest.mark.parametrize("names", [["count"], ["barred"], ["label"], ["ra"], list(CONDITIONS)], ids=" ".join)
def test_the_line_of_code_selects_the_same_rows(desk, table, names):
    for name in names:
        inputs = desk.add_filter(name)
        for entry in CONDITIONS[name]:
            if isinstance(entry, str):
                inputs[0].send_keys(entry)
            else:
                inputs[entry].click()
    line = desk.text("#selection code")
    selected = eval(line, {"skyshards": skyshards}).catalog["source"].to_pylist()
    rows = desk.rows()
    assert 0 < len(rows) < ROWS
    assert selected == [table.catalog["source"][row].as_py() for row in rows]


def test_searches_text(desk, table):
    desk.one("#search").send_keys("ARM 7")
    wanted = [row for row, names in enumerate(table.catalog["votes.names"].to_pylist()) if "arm 7" in names[1]]
    assert len(wanted) > 1 and desk.rows() == wanted
    assert not desk.one("#selection").is_displayed()  # conditions do not search


def test_says_if_nothing_matches(desk):
    desk.add_filter("object_id")[0].send_keys("no such galaxy")
    assert desk.rows() == [] and desk.text("#status") == "No row matches; remove a filter."


def test_a_histogram_leads_to_its_filter(shown):
    shown.click("button[aria-label='Filter the gallery by flux']")
    assert shown.text("#filters legend") == "flux"
    assert shown.focused().get_attribute("aria-label") == "least flux"


def test_shows_more(desk):
    assert len(desk.all(".card")) == 60 and desk.text("#status") == "90 rows; the first 60 are shown."
    desk.click("#more")
    assert len(desk.all(".card")) == 90 and not desk.one("#more").is_displayed()
    assert desk.focused().get_attribute("data-row") == "60"


def test_masks_are_hidden_and_shown(browser, tmp_path):
    """In the gallery and in the dialog, with one button in each."""
    browser.open(write_page("tests/format_0/gz3d", tmp_path / "page").index)
    sources = "return [...document.querySelectorAll('img')].map((image) => image.getAttribute('src'))"
    with_masks = browser.run(sources)
    browser.click("#status-line .masks")
    without = browser.run(sources)
    assert browser.one("#status-line .masks").get_attribute("aria-pressed") == "false"
    assert not browser.one("#status-line .mask-legend").is_displayed()
    assert len(without) == len(with_masks) and not set(without) & set(with_masks)
    browser.click(".card")
    assert browser.one("dialog img").get_attribute("src").endswith(without[0])
    browser.click("dialog .masks")
    assert browser.one("dialog img").get_attribute("src").endswith(with_masks[0])
    browser.press(Keys.ESCAPE)
    assert browser.run(sources)[: len(with_masks)] == with_masks


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_masks_are_named_beside_their_colours(browser, tmp_path, width, scheme):
    page = write_page("tests/format_0/gz3d", tmp_path / "page").index
    try:
        browser.prefer(scheme).open(page, width)
        legends = ["#status-line .mask-legend", "dialog .mask-legend"]
        for place, opener in zip(legends, (None, ".card"), strict=True):
            if opener:
                browser.click(opener)
            assert browser.one(place).text.split() == ["center", "star", "spiral", "bar"]
            colours = [swatch.get_attribute("fill") for swatch in browser.all(f"{place} rect")]
            assert colours == list(COLOURS[:4])
            box = browser.one(place).rect
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
            edge = browser.run("return getComputedStyle(document.querySelector(arguments[0])).stroke", f"{place} rect")
            light = sum(map(int, re.findall(r"\d+", edge)[:3])) > 3 * 128
            assert light == (scheme == "dark")  # an edge that stands out from the page, even around yellow on white
    finally:
        browser.prefer()


def test_without_masks_there_is_no_button_for_them(browser, tmp_path):
    browser.open(write_page("tests/format_0/gz_decals", tmp_path / "page").index)
    assert not browser.all(".masks") and not browser.all(".mask-legend")


# One row


def values_shown(browser):
    cells = browser.run(
        "return [...document.querySelectorAll('dialog tr')]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    return dict(cells)


def test_a_row_has_its_values_source_and_code(shown, table):
    shown.click(".card[data-row='4']")
    row, source, values = table[4], table.source(4), values_shown(shown)
    assert shown.text("dialog h2") == row["object_id"]
    assert values["count"] == str(row["count"]) and values["flux"] == f"{row['flux']!s} uJy"
    assert float(values["ra"].removesuffix(" deg")) == row["ra"]
    label = row["label"]
    assert values["label"] == f"{label} {table.schema['label'].classes[label]}"
    assert values["votes.names"] == ", ".join(row["votes"]["names"])
    assert values["votes.mask"] == "uint8 [16, 18], in the shard"
    assert values["source"] == source.source and values["row of table"] == "4"
    assert eval(shown.text("dialog code"), {"skyshards": skyshards})["flux"] == row["flux"]
    box = "const box = document.querySelector('dialog').getBoundingClientRect();"
    assert shown.run(f"{box} return box.right <= innerWidth && box.bottom <= innerHeight")


def test_a_source_that_was_fetched_has_url_and_hash(browser, tmp_path):
    browser.open(write_page("tests/format_0/gz_decals", tmp_path / "page").index)
    browser.click(".card")
    source = skyshards.open("tests/format_0/gz_decals").source(0)
    values = values_shown(browser)
    assert values["sha256"] == source.sha256 and values["size"] == f"{source.nbytes:,} bytes"
    assert browser.one("dialog a").get_attribute("href") == source.url


def test_only_web_addresses_are_links(browser, page):
    browser.open(page)
    for address, linked in (("https://a.b/c", True), ("javascript:alert(1)", False), ("data:text/html,x", False)):
        assert browser.run("return link(arguments[0]) instanceof HTMLAnchorElement", address) == linked


def test_keys_alone_open_walk_and_close(shown):
    shown.press(Keys.TAB)
    assert shown.focused().text == "Skip to the gallery"
    shown.press(Keys.ENTER)
    assert shown.focused().get_attribute("id") == "gallery-title"
    while shown.focused().get_attribute("data-row") != "0":
        shown.press(Keys.TAB)
    shown.press(Keys.ENTER)
    assert shown.focused().get_attribute("id") == "details-title"
    shown.press(Keys.ARROW_RIGHT)
    assert shown.driver.current_url.endswith("#row=1")
    for _ in range(12):  # focus stays in the dialog (or is in the browser's own bar)
        shown.press(Keys.TAB)
        assert shown.run(
            "return document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        )
    shown.press(Keys.ESCAPE)
    assert not shown.one("dialog").is_displayed() and "#row" not in shown.driver.current_url
    assert shown.focused().get_attribute("data-row") == "1"


def test_previous_and_next_follow_the_order_of_the_gallery(desk, table):
    desk.choose("#sort", "count")
    order = np.argsort(table.catalog["count"].to_numpy(), kind="stable").tolist()
    desk.click(f".card[data-row='{order[1]}']")
    desk.click("#previous")
    assert desk.driver.current_url.endswith(f"#row={order[0]}")
    assert desk.one("#previous").get_property("disabled") and not desk.one("#next").get_property("disabled")


def test_an_address_opens_a_row(browser, page, table):
    browser.open(f"{page.as_uri()}#row=77")
    assert browser.one("dialog").is_displayed() and browser.text("dialog h2") == table[77]["object_id"]
    browser.click("#close")
    assert not browser.one("dialog").is_displayed()
    assert not browser.open(f"{page.as_uri()}#row=12345").one("dialog").is_displayed()


def test_the_sky_marks_the_rows_that_match(desk, table):
    assert len(desk.all("#sky circle")) == ROWS
    desk.add_filter("dec")[0].send_keys("30")
    wanted = int((table.catalog["dec"].to_numpy() >= 30).sum())
    circles = desk.all("#sky circle")
    assert len(circles) == wanted
    highest = 250 * (1 - sky.project(np.array([0.0]), np.array([30.0]))[1][0])
    assert all(float(circle.get_attribute("cy")) < highest for circle in circles)


# Accessibility


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("opened", [False, True], ids=["page", "dialog"])
def test_breaks_no_rule_of_accessibility(browser, page, scheme, opened):
    """Names of controls, contrast, headings, landmarks and all else that axe knows."""
    axe = pytest.importorskip("axe_core_python.selenium", reason="axe-core-python is not installed")
    browser.prefer(scheme).open(page)
    for name in ("flux", "label", "object_id"):
        browser.add_filter(name)
    if opened:
        browser.click(".card")
    found = axe.Axe().run(browser.driver)["violations"]
    broken = {rule["id"]: [node["html"] for node in rule["nodes"]] for rule in found}
    assert broken == {}
