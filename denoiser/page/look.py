"""How the page looks: colours with enough contrast, and a before/after divider for people without a mouse."""

import gradio as gr

THEME = gr.themes.Default(
    primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
).set(  # enough contrast for WCAG AA in both modes, and no font from anywhere
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
CSS = ".dark { --color-accent: var(--primary-400) !important; }"  # the theme has one accent for both modes
# Gradio's before/after divider can't be reached without a mouse: give it a role, a name, focus and the arrow keys.
DIVIDER_KEYS = """() => {
  const drag = (divider, step) => {
    const box = divider.getBoundingClientRect();
    const at = {clientX: box.left + box.width / 2, clientY: box.top + box.height / 2};
    const options = {bubbles: true, cancelable: true, view: window};
    divider.dispatchEvent(new MouseEvent('mousedown', {...options, ...at}));
    at.clientX += step;
    window.dispatchEvent(new MouseEvent('mousemove', {...options, ...at}));
    window.dispatchEvent(new MouseEvent('mouseup', {...options, ...at}));
    const frame = divider.parentElement.getBoundingClientRect();
    divider.setAttribute('aria-valuenow', Math.round(100 * (at.clientX - frame.left) / frame.width));
  };
  const equip = () => document.querySelectorAll('[data-testid=slider]:not([tabindex])').forEach(divider => {
    divider.tabIndex = 0;
    divider.setAttribute('role', 'slider');
    divider.setAttribute('aria-label', 'Divider between before and after');
    divider.setAttribute('aria-valuenow', '50');
    divider.addEventListener('keydown', event => {
      const step = {ArrowLeft: -20, ArrowRight: 20}[event.key];
      if (!step) return;
      event.preventDefault();
      drag(divider, step);
    });
  });
  new MutationObserver(equip).observe(document.body, {childList: true, subtree: true});
  equip();
}"""
