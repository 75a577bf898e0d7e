"""The head of the page's HTML, which Gradio serves from a template with its own name and picture in it."""

from __future__ import annotations

import functools
import html
import re
from pathlib import Path

from gradio import routes
from jinja2 import ChoiceLoader, DictLoader

ICON = Path(__file__).with_name("icon.png")
TEMPLATE = "frontend/index.html"
# Gradio translates its own labels into the language of the browser. Ours are English, so let all of them be.
HEAD = """<head>
<title>{title}</title>
<meta name="description" content="{text}" />
<meta property="og:type" content="website" />
<meta property="og:title" content="{title}" />
<meta property="og:description" content="{text}" />
<meta property="og:image" content="{{{{ config['root'] }}}}/favicon.ico" />
<meta name="twitter:card" content="summary" />
<script>Object.defineProperty(navigator, "language", {{value: "en"}});</script>"""


@functools.cache  # once for all pages of a process
def use_own_head(title: str, text: str) -> None:
    """Let Gradio serve the page under this title, with this text in previews of links to it, and in English."""
    environment = routes.templates.env
    assert environment.loader is not None
    source, *_ = environment.loader.get_source(environment, TEMPLATE)
    source = re.sub(r'<meta\s+(property="og:|name="twitter:)[^>]*>', "", source)
    head = HEAD.format(title=html.escape(title), text=html.escape(text))
    environment.loader = ChoiceLoader([DictLoader({TEMPLATE: source.replace("<head>", head)}), environment.loader])
