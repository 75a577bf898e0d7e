"""What the page's HTML says to browsers and to services that preview links."""

import re
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from chromium import visit

import app
from denoiser.page.html_head import ICON

pytestmark = pytest.mark.slow


def test_title_icon_and_link_preview_are_ours(url):
    page = httpx.get(url).text
    assert f"<title>{app.TITLE}</title>" in page
    previews = re.findall(r'<meta (?:property|name)="(?:og|twitter):[^>]*>', re.sub(r"\s+", " ", page))
    assert len(previews) == 5 and not [preview for preview in previews if "gradio" in preview.lower()]
    assert httpx.get(f"{url}favicon.ico").content == ICON.read_bytes()


def test_no_other_template_is_taken_where_node_renders_pages(monkeypatch):
    options = {}
    app.launch(SimpleNamespace(launch=options.update))
    monkeypatch.setenv("GRADIO_SSR_MODE", "True")  # as on a Space
    assert gr.Blocks()._resolve_ssr_mode(options["ssr_mode"]) is False


@pytest.mark.parametrize("locale", ["de-DE", "ja-JP"])
def test_the_page_is_in_english_whatever_the_browser_speaks(browser, url, locale):
    with browser.new_context(locale=locale) as context:
        page = context.new_page()
        visit(page, url)
        page.get_by_text("Use via API").wait_for()
        page.get_by_role("tab", name="Many photos").click()
        page.get_by_text("Click to Upload").wait_for()
