"""The page in Chromium: no message, no request, nothing that sticks out, light and dark, narrow and wide."""

import shutil

import pytest
from example_runs import make_features, make_run, make_task
from test_report import HOSTILE, hostile_texts

from minibert import load_tokenizer, trace
from minibert.report import page, write_data_report
from minibert.report.gather import gather

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")
    path = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if path is None:
        pytest.skip(f"no browser is installed (looked for {', '.join(BROWSERS)})")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], headless=True)
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """{what it shows: path}."""
    folder, tokenizer = tmp_path_factory.mktemp("pages"), load_tokenizer("minibert-tiny")
    hostile = [text.replace("\ud800", "\ufffd").strip()[:5000] for text in HOSTILE]
    tasks = {
        "two classes": (make_task(groups=True), (0,)),
        "fifty classes": (make_task((500, 200, 300), [f"a class with a long name {i}" for i in range(50)]), (0, 1, 2)),
        "hostile": (make_task((60, 30, 45), hostile, hostile_texts, pairs=True), (0,)),
    }
    made = {}
    for name, (task, seeds) in tasks.items():
        job, results = make_run(folder / name.replace(" ", "-"), tokenizer, task, seeds=seeds)
        record, _ = gather(job, results, make_features(task))
        made[name] = job.folder / "report.html"
        made[name].write_text(page.render_run(record), encoding="utf-8")
    task = tasks["two classes"][0]
    sequences = {part: tokenizer.encode(getattr(task, part).texts) for part in ("train", "validation", "test")}
    write_data_report(task, sequences, tokenizer, 24, "head", "a/model", folder / "data")
    made["trace"] = folder / "trace.html"
    trace.main([f"a fine film, {'really ' * 30}<b>fine</b>", "--output", str(made["trace"])])
    return made | {"data alone": folder / "data" / "data.html"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("name", ["two classes", "fifty classes", "hostile", "data alone", "trace"])
def test_a_page_is_whole_and_keeps_to_itself(name, width, scheme, browser, pages):
    view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    messages, requests = [], []
    view.on("console", lambda message: messages.append(message.text))
    view.on("pageerror", lambda error: messages.append(str(error)))
    view.on("dialog", lambda dialog: (messages.append(dialog.message), dialog.dismiss()))
    view.on("request", lambda request: requests.append(request.url))
    view.goto(pages[name].as_uri())
    view.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert messages == []
    assert requests == [pages[name].as_uri()]  # the page itself, and nothing else
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    assert view.evaluate(STICKING_OUT) == []
    assert view.evaluate("document.scripts.length") == 0
    background = view.evaluate("getComputedStyle(document.body).backgroundColor")
    lightness = sum(map(int, background.removeprefix("rgb(").removesuffix(")").split(","))) / 3
    assert lightness > 200 if scheme == "light" else lightness < 60
    view.close()


# Words of a picture that its edge cuts off, for a picture's own box hides what lies beyond it.
STICKING_OUT = """[...document.querySelectorAll('svg text')].filter(one => !one.closest('defs')).filter(one => {
    const word = one.getBoundingClientRect(), picture = one.ownerSVGElement.getBoundingClientRect();
    return word.left < picture.left - 1 || word.right > picture.right + 1 || word.bottom > picture.bottom + 2;
}).map(one => one.textContent)"""
