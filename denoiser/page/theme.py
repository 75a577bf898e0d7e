"""The theme of the page, and the paths of its style sheet and script."""

from pathlib import Path

import gradio as gr

THEME = gr.themes.Default(
    primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
).set(  # enough contrast for WCAG AA in light and dark mode
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_600",
    button_primary_text_color="white",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_400",
    color_accent="*primary_700",
)
ACTUAL_SIZE_CLASS = "actual-size"  # in page.css and page.js too
CSS, SCRIPT = Path(__file__).with_name("page.css"), Path(__file__).with_name("page.js")
